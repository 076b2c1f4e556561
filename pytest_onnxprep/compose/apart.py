"""How far apart two answers are, in words, for the explanation of a failure."""

from __future__ import annotations

import numpy as np

from pytest_onnxprep.sources.base import Feeds


def apart(expected: Feeds, actual: Feeds) -> str:
    """The largest difference of each output, in words."""
    told = []
    for name, value in expected.items():
        other = actual.get(name)
        if other is None:
            told.append(f"{name} is missing")
        elif other.shape != value.shape:
            told.append(f"{name} {list(value.shape)} / {list(other.shape)}")
        elif value.dtype.kind in "fiub" and value.size:
            error = np.abs(value.astype(np.float64) - other.astype(np.float64))
            told.append(f"{name} max |error| {np.nanmax(error) if np.isfinite(error).any() else np.nan:.3g}")
        else:
            told.append(f"{name} {'equal' if np.array_equal(value, other) else 'differs'}")
    return ", ".join(told)


def is_apart(expected: Feeds, actual: Feeds) -> bool:
    """Whether by far more than rounding."""
    for name, value in expected.items():
        other = actual.get(name)
        if other is None or other.shape != value.shape:
            return True
        if value.dtype.kind == "f" and not np.allclose(other, value, rtol=1e-3, atol=1e-4, equal_nan=True):
            return True
        if value.dtype.kind not in "f" and not np.array_equal(value, other):
            return True
    return False
