"""Checks that an option asks for, of every variant, where no mark does."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from pytest_onnxprep.marks import CHECKS
from pytest_onnxprep.plugin.options import profiling
from pytest_onnxprep.spec.profile_request import ProfileRequest

#: check name -> its module and the mark its items carry, so that ``-m`` can select them.
UNMARKED = {"profile": ("pytest_onnxprep.checks.profile", "onnx_profile")}


def asked_for(config: pytest.Config, requests: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """The checks beside those of the marks, as (name, request)."""
    if profiling(config):
        latency = requests.get("latency_budget")
        if latency is None:
            yield "profile", ProfileRequest()
        else:
            yield "profile", ProfileRequest(latency.at[0], latency.threads, latency.provider)


def module_of(check: str) -> str:
    """The module that holds a check's ``run`` and ``FINDING``."""
    return CHECKS[check].module if check in CHECKS else UNMARKED[check][0]


def mark_of(check: str) -> str | None:
    """The mark to be put on the items of a check that no mark asked for."""
    return UNMARKED[check][1] if check in UNMARKED else None
