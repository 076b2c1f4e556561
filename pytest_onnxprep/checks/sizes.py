"""The inputs of a check that measures at fixed sizes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pytest_onnxprep.fuzz.example import Maker
from pytest_onnxprep.spec.signature import Signature


def at_sizes(signature: Signature, at: Mapping[str, int], what: str) -> tuple[dict[str, int], dict[str, Any]]:
    """The sizes of every dim (the smallest where ``at`` names none) and plain inputs of these sizes.

    Raises:
        SpecError: ``at`` names an unknown dim, or a size outside its range.
    """
    sizes = signature.check_sizes(at, what)
    maker = Maker(signature)
    return sizes, maker.feeds(maker.plain(sizes))


def told_at(details: str, sizes: Mapping[str, int]) -> str:
    """The text of a failure with the sizes it was measured at; empty where there is none."""
    return f"{details}\nmeasured{shown_sizes(sizes, 'fixed sizes')}" if details else ""


def shown_sizes(sizes: Mapping[str, int], otherwise: str = "") -> str:
    """``; at batch=1, h=64`` for the end of a summary."""
    listed = ", ".join(f"{name}={size}" for name, size in sizes.items()) or otherwise
    return f" at {listed}" if listed else ""
