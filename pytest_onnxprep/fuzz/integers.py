"""Integer recipes, drawn in the dtype itself: the range of uint64 fits no other."""

from __future__ import annotations

from functools import cache
from typing import Any, NamedTuple

import numpy as np

from pytest_onnxprep.spec.tensor import TensorSpec

Shape = tuple[int, ...]
Rng = np.random.Generator

#: 8 and 16 bits are pictures, sound and quantised values: all of their range is meant.
NARROW = ("int8", "uint8", "int16", "uint16")


class Limits(NamedTuple):
    """The ranges of one integer input.

    ``low`` and ``high`` (exclusive) are drawn from uniformly; ``first`` and ``last`` may not be left by any recipe:
    the declared range, or the dtype's.
    """

    low: int
    high: int
    first: int
    last: int


def limits(spec: TensorSpec) -> Limits:
    """The ranges of an input; an open end is ten numbers away, at 0 where that is legal.

    Without any bound 8 and 16 bits are free, wider integers (indices, mostly) are drawn from 0..9.
    """
    return _limits(spec.dtype, spec.low, spec.high)


@cache
def _limits(dtype: str, lowest: float | None, beyond_highest: float | None) -> Limits:
    info = np.iinfo(dtype)
    first, beyond = int(info.min), int(info.max) + 1
    if lowest is None and beyond_highest is None:
        low, high = (first, beyond) if dtype in NARROW else (0, 10)
        return Limits(low, high, first, beyond - 1)
    if lowest is not None:
        low = int(lowest)
        high = int(beyond_highest) if beyond_highest is not None else min(beyond, low + 10)
    else:
        high = int(beyond_highest or 0)
        low = max(first, 0 if high > 0 else high - 10)
    return Limits(low, high, low, high - 1)


_dtype = cache(np.dtype)


def integer_values(recipe: str, spec: TensorSpec, shape: Shape, rng: Rng) -> Any:
    """The values of one recipe, of the spec's dtype and inside its range."""
    low, high, first, last = limits(spec)
    dtype = _dtype(spec.dtype)
    if recipe in ("zeros", "ones"):
        return np.full(shape, min(max(int(recipe == "ones"), first), last), dtype)
    if recipe == "lowest":
        return np.full(shape, first, dtype)
    if recipe == "highest":
        return np.full(shape, last, dtype)
    if recipe == "ends":
        return np.where(rng.random(shape) < 0.5, np.array(first, dtype), np.array(last, dtype))
    if recipe == "signed":
        return rng.integers(max(-300, first), min(300, last), shape, dtype, endpoint=True)
    if recipe == "wide":
        return _wide(dtype, shape, rng)
    if recipe == "ramp":
        steps = np.arange(int(np.prod(shape)), dtype=np.uint64) % np.uint64(max(1, min(high - low, 1 << 63)))
        return (steps.astype(dtype) + np.array([low], dtype)).reshape(shape)
    if recipe == "ties":
        return rng.integers(low, min(high, low + 2), shape, dtype)
    if recipe == "constant":
        return np.full(shape, rng.integers(low, high, dtype=dtype), dtype)
    if recipe == "repeated" and shape and shape[0]:
        return np.broadcast_to(rng.integers(low, high, (1, *shape[1:]), dtype), shape)
    return rng.integers(low, high, shape, dtype)


def _wide(dtype: np.dtype[Any], shape: Shape, rng: Rng) -> Any:
    """Every magnitude up to 2**30 (2**40 for 64 bits), signed: beyond what float32 (2**24) and int32 hold exactly."""
    bits = rng.integers(0, 40 if dtype.itemsize == 8 else 30, shape)
    values = np.ldexp(1 + rng.random(shape), bits).astype(np.int64)
    if dtype.kind == "i":
        values = np.where(rng.random(shape) < 0.5, values, -values)
    return values.astype(dtype)
