"""Checks that an option asks for, of every variant, where no mark does."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pytest_onnxprep.marks import CHECKS
from pytest_onnxprep.plugin.options import profiling, target_folders, target_option
from pytest_onnxprep.spec.errors import SpecError
from pytest_onnxprep.spec.fits_request import FitsRequest
from pytest_onnxprep.spec.target_files import load_target, shipped_targets

if TYPE_CHECKING:
    from pytest_onnxprep.spec.target import Target

#: check name -> its module and the mark its items carry, so that ``-m`` can select them.
UNMARKED = {"profile": ("pytest_onnxprep.checks.profile", "onnx_profile")}
#: Checks made here though they have a mark: an option or another mark may ask for them too.
MADE_HERE = frozenset({"fits"})


def asked_for(config: pytest.Config, folder: Path, requests: Mapping[str, Any]) -> Iterator[tuple[str, str, Any]]:
    """The checks beside those whose mark says it all, as (name, label, request).

    Args:
        config: pytest's.
        folder: of the test file.
        requests: mark -> what it says.

    Raises:
        SpecError: a device profile cannot be read.
    """
    latency = requests.get("latency_budget")
    targets = _targets(config, folder, requests)
    for target in targets:
        asked: FitsRequest = requests.get("fits", FitsRequest())
        at = asked.at or (latency.at[:1] if latency is not None else ())
        label = "fits" if len(targets) == 1 else f"fits-{target.name}"
        yield "fits", label, replace(asked, at=at, target=target)
    if profiling(config):
        from pytest_onnxprep.spec.profile_request import ProfileRequest

        request = ProfileRequest(latency.at[0], latency.threads, latency.provider) if latency else ProfileRequest()
        yield "profile", "profile", request


def _targets(config: pytest.Config, folder: Path, requests: Mapping[str, Any]) -> list[Target]:
    """The nearest to the test wins: its mark ``fits``, then ``onnx_export(target=)``, then the option."""
    names = requests["fits"].targets if "fits" in requests else ()
    names = names or requests["onnx_export"].targets or target_option(config)
    if not names and "fits" in requests:
        known = ", ".join(shipped_targets())
        raise SpecError(
            f"needs a target: fits('raspberry-pi-4'), onnx_export(target=...) or --onnxprep-target. Known: {known}."
        )
    return [load_target(name, target_folders(config, folder)) for name in names]


def module_of(check: str) -> str:
    """The module that holds a check's ``run`` and ``FINDING``."""
    return CHECKS[check].module if check in CHECKS else UNMARKED[check][0]


def mark_of(check: str) -> str | None:
    """The mark that ``-m`` selects the items of a check by, where they may come without it."""
    if check in UNMARKED:
        return UNMARKED[check][1]
    return CHECKS[check].mark if check in MADE_HERE else None
