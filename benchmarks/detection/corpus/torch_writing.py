"""Words the torch cases are written in."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import nn

from benchmarks.detection.case import Case

#: This module only helps to write the others.
CASES: list[Case] = []

PYTORCH = "https://github.com/pytorch/pytorch/issues"
ONNXSCRIPT = "https://github.com/microsoft/onnxscript"
ORT = "https://github.com/microsoft/onnxruntime/issues"


def functional(forward: Callable[..., Any]) -> Callable[[], nn.Module]:
    """A factory of the module without weights that computes ``forward``."""

    def build() -> nn.Module:
        net: nn.Module = type("Net", (nn.Module,), {"forward": staticmethod(forward)})()
        return net.eval()

    build.__name__ = build.__qualname__ = getattr(forward, "__name__", "net")
    return build


def seeded(build: Callable[[], nn.Module]) -> Callable[[], nn.Module]:
    """A factory whose weights come from a fixed seed; the caller's random state stays as it was."""

    def seeded_build() -> nn.Module:
        with torch.random.fork_rng():
            torch.manual_seed(0)
            return build().eval()

    seeded_build.__name__ = seeded_build.__qualname__ = getattr(build, "__name__", "net")
    return seeded_build


def normal(*shape: int, scale: float = 1.0, seed: int = 0) -> np.ndarray:
    """Normal values for a witness."""
    return (np.random.default_rng(seed).standard_normal(shape) * scale).astype(np.float32)


def integers(*shape: int, low: int = 0, high: int = 10, seed: int = 0) -> np.ndarray:
    """Uniform int64 values for a witness."""
    return np.random.default_rng(seed).integers(low, high, shape)


def bug(name: str, exporter: str, **arguments: Any) -> Case:
    """A bug of a torch exporter; the converter is to blame unless told otherwise."""
    return Case(name=f"torch_{name}", framework="torch", exporter=exporter, **{"blame": "converter", **arguments})


def clean(case: Case, mechanism: str, **changes: Any) -> Case:
    """The twin of a bug: the same case but for ``changes``, and without the edit."""
    name = f"{case.name}_clean"
    kept: dict[str, Any] = {"name": name, "mechanism": mechanism, "witness": None, "blame": None, "edit": None}
    return replace(case, **{**kept, **changes})


def twins(case: Case, mechanism: str, **changes: Any) -> tuple[Case, Case]:
    """A bug and its twin."""
    return case, clean(case, mechanism, **changes)
