"""The same inputs, moved by a rounding error."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from pytest_onnxprep.spec.signature import Signature
from pytest_onnxprep.spec.tolerance import EPSILON

#: Sizes of the nudges in machine epsilons: what a few operations before a threshold accumulate.
STEPS = (1, 1, 4, 4, 16, 16)


def nudged(feeds: Mapping[str, np.ndarray], signature: Signature) -> Iterator[dict[str, np.ndarray]]:
    """Feeds whose float elements are multiplied by ``1 +- k * eps``, with random signs, inside the declared range.

    Nothing is yielded where no input is a float.

    Args:
        feeds: input name -> array; not changed.
        signature: holds the declared ranges.
    """
    if not any(array.dtype.name in EPSILON and array.size for array in feeds.values()):
        return
    rng = np.random.default_rng(0)
    for steps in STEPS:
        yield {name: _nudge(array, steps, rng, *_range(signature, name)) for name, array in feeds.items()}


def shifted(feeds: Mapping[str, np.ndarray], signature: Signature) -> Iterator[dict[str, np.ndarray]]:
    """Feeds moved by a rounding error of the largest element: that reaches zeros, too.

    Args:
        feeds: input name -> array; not changed.
        signature: holds the declared ranges.
    """
    rng = np.random.default_rng(1)
    if any(array.dtype.name in EPSILON and array.size for array in feeds.values()):
        for steps in STEPS[::2]:
            yield {name: _shift(array, steps, rng, *_range(signature, name)) for name, array in feeds.items()}


def _shift(
    array: np.ndarray, steps: int, rng: np.random.Generator, low: float | None, high: float | None
) -> np.ndarray:
    if array.dtype.name not in EPSILON or not array.size:
        return array
    finite = np.abs(array[np.isfinite(array)].astype(np.float64))
    scale = max(1.0, float(finite.max())) if finite.size else 1.0
    moved = array.astype(np.float64) + steps * EPSILON[array.dtype.name] * scale * rng.uniform(-1, 1, array.shape)
    return np.asarray(np.clip(moved, low, high) if (low, high) != (None, None) else moved).astype(array.dtype)


def _range(signature: Signature, name: str) -> tuple[float | None, float | None]:
    spec = signature.inputs[name]
    return spec.low, spec.high


def _nudge(
    array: np.ndarray, steps: int, rng: np.random.Generator, low: float | None, high: float | None
) -> np.ndarray:
    if array.dtype.name not in EPSILON:
        return array
    factor = 1 + steps * EPSILON[array.dtype.name] * rng.choice((-1.0, 1.0), array.shape)
    with np.errstate(all="ignore"):
        moved = (array.astype(np.float64) * factor).astype(array.dtype)
    return moved if low is None and high is None else np.clip(moved, low, high).astype(array.dtype)
