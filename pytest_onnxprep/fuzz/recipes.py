"""Value recipes: a name, a spec, a shape and a Generator give an array.

Hypothesis never draws elements, so a megapixel costs no more to draw than a scalar.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from pytest_onnxprep.spec.tensor import TensorSpec

Shape = tuple[int, ...]
Rng = np.random.Generator

_FREE_FLOATS = ["normal", "uniform", "zeros", "ones", "repeated", "ramp", "ties", "halves", "small"]
_BOUND_FLOATS = ["uniform", "ends", "zeros", "ones", "repeated", "ramp", "ties", "halves"]
#: Explicit absolute bounds are set with ordinary magnitudes in mind; every other tolerance follows the magnitude.
_MAGNITUDES = ["large"]
#: 8 and 16 bits are pictures, sound and quantised values: all of their range is meant.
_NARROW = ("int8", "uint8", "int16", "uint16")
_FREE_INTEGERS = ["integers", "signed", "zeros", "ones", "repeated", "ramp", "ties"]
_BOUND_INTEGERS = ["integers", "ends", "zeros", "ones", "repeated", "ramp", "ties"]
_MASKS = ["mask", "ones", "random_mask"]


def recipes_for(name: str, spec: TensorSpec, *, special_values: bool = False, magnitudes: bool = True) -> list[str]:
    """The recipes of an input, plainest first, by dtype, range and role (an input named ``...mask`` is a mask)."""
    if isinstance(spec.values, str):
        return list(_MASKS) if spec.values == "mask" else [spec.values]
    if spec.values is not None:
        return ["custom"]
    if spec.dtype == "string":
        return ["words"]
    if "mask" in name.lower() and spec.low in (None, 0) and spec.high in (None, 2) and "float" not in spec.dtype:
        return list(_MASKS)
    if spec.dtype == "bool":
        return ["bernoulli", "ones", "zeros", "alternating"]
    bound = spec.low is not None or spec.high is not None
    if "int" in spec.dtype:
        return list(_BOUND_INTEGERS if bound or spec.dtype in _NARROW else _FREE_INTEGERS)
    kinds = _BOUND_FLOATS if bound else _FREE_FLOATS + (_MAGNITUDES if magnitudes else [])
    return kinds + (["special"] if special_values else [])


def make_array(recipe: str, spec: TensorSpec, shape: Shape, rng: Rng) -> np.ndarray:
    """Make one array of the spec's dtype, inside its declared range.

    Args:
        recipe: a name of `pytest_onnxprep.spec.tensor.RECIPES`.
        spec: dtype and range.
        shape: concrete shape.
        rng: source of randomness.
    """
    if recipe == "words":
        return _words(shape, rng)
    if recipe in _MASK_MAKERS:
        return np.asarray(_MASK_MAKERS[recipe](shape, rng)).astype(_dtype(spec.dtype))
    if "int" in spec.dtype:
        return _integers(recipe, spec, shape, rng)
    if spec.dtype == "bool":
        return np.full(shape, recipe == "ones") if recipe in ("zeros", "ones") else np.asarray(rng.random(shape) < 0.5)
    return _floats(recipe, spec, shape, rng)


def _dtype(name: str) -> np.dtype[Any]:
    if name == "bfloat16":
        import ml_dtypes

        brain_float: np.dtype[Any] = np.dtype(ml_dtypes.bfloat16)
        return brain_float
    return np.dtype(name)


# floats ---------------------------------------------------------------------------------------------------------


def _floats(recipe: str, spec: TensorSpec, shape: Shape, rng: Rng) -> np.ndarray:
    # float32 is drawn as such; other widths are rounded from it or from float64.
    wide: Any = np.float64 if spec.dtype == "float64" else np.float32
    values = _float_values(recipe, spec, shape, rng, wide)
    if spec.low is not None or spec.high is not None:
        values = np.clip(values, spec.low, spec.high)
    return _writable(values.astype(_dtype(spec.dtype), copy=False), shape)


def _float_values(recipe: str, spec: TensorSpec, shape: Shape, rng: Rng, wide: Any) -> Any:
    low = -1.0 if spec.low is None and spec.high is None else _bound(spec.low, spec.high, -1)
    high = 1.0 if spec.low is None and spec.high is None else _bound(spec.high, spec.low, +1)
    if recipe == "zeros":
        return np.zeros(shape, wide)
    if recipe == "ones":
        return np.ones(shape, wide)
    if recipe == "uniform":
        return rng.random(shape, dtype=wide) * wide(high - low) + wide(low)
    if recipe == "ends":
        return np.where(rng.random(shape) < 0.5, wide(low), wide(high))
    if recipe == "ramp":
        return np.linspace(low, high, int(np.prod(shape)), dtype=wide).reshape(shape)
    normal = np.asarray(rng.standard_normal(shape, dtype=wide))
    if recipe == "repeated":
        return np.broadcast_to(normal[:1], shape) if shape and shape[0] else normal
    if recipe == "ties":
        return np.round(normal)
    if recipe == "halves":
        return np.round(normal * 4) / wide(2)
    if recipe == "large":
        return normal * wide(10)
    if recipe == "small":
        return normal * wide(1e-3)
    if recipe == "special":
        return _special(normal, rng)
    return normal


def _bound(wanted: float | None, other: float | None, side: int) -> float:
    """A finite stand-in for an open end: one unit beyond the other end."""
    return float(wanted) if wanted is not None else float(other or 0) + side


def _special(values: np.ndarray, rng: Rng) -> np.ndarray:
    """Sprinkle NaN, infinities and signed zeros over about a tenth of the elements, at least one."""
    flat = values.reshape(-1)
    if flat.size:
        where = rng.integers(0, flat.size, max(1, flat.size // 10))
        flat[where] = rng.choice(np.array([np.nan, np.inf, -np.inf, 0.0, -0.0], values.dtype), where.size)
    return values


# integers -------------------------------------------------------------------------------------------------------


def _integers(recipe: str, spec: TensorSpec, shape: Shape, rng: Rng) -> np.ndarray:
    """Drawn in the dtype itself: the range of uint64 fits no other."""
    info = np.iinfo(spec.dtype)
    low, high = _integer_range(spec, int(info.min), int(info.max) + 1)
    bound = spec.low is not None or spec.high is not None
    # What a recipe may not leave: the declared range, or the dtype's.
    ends = (low, high - 1) if bound else (int(info.min), int(info.max))
    return _writable(_integer_values(recipe, low, high, ends, shape, rng, np.dtype(spec.dtype)), shape)


def _integer_range(spec: TensorSpec, first: int, beyond: int) -> tuple[int, int]:
    """The declared range, ``high`` exclusive; an open end is ten numbers away, at 0 where that is legal.

    Without any bound 8 and 16 bits are free, wider integers (indices, mostly) stay in 0..9.
    """
    if spec.low is not None:
        return int(spec.low), int(spec.high) if spec.high is not None else min(beyond, int(spec.low) + 10)
    if spec.high is None:
        return (first, beyond) if spec.dtype in _NARROW else (0, 10)
    high = int(spec.high)
    return max(first, 0 if high > 0 else high - 10), high


def _integer_values(
    recipe: str, low: int, high: int, ends: tuple[int, int], shape: Shape, rng: Rng, dtype: np.dtype[Any]
) -> np.ndarray:
    if recipe in ("zeros", "ones"):
        return np.full(shape, _clip(int(recipe == "ones"), ends), dtype)
    if recipe == "ends":
        return np.where(rng.random(shape) < 0.5, np.array(ends[0], dtype), np.array(ends[1], dtype))
    if recipe == "signed":
        return np.asarray(rng.integers(_clip(-300, ends), _clip(300, ends), shape, dtype, endpoint=True))
    if recipe == "ramp":
        steps = np.arange(int(np.prod(shape)), dtype=np.uint64) % np.uint64(max(1, min(high - low, 1 << 63)))
        return np.asarray(steps.astype(dtype) + np.array([low], dtype)).reshape(shape)
    if recipe == "ties":
        return np.asarray(rng.integers(low, min(high, low + 2), shape, dtype))
    values = np.asarray(rng.integers(low, high, shape, dtype))
    if recipe == "repeated" and shape and shape[0]:
        return np.broadcast_to(values[:1], shape)
    return values


def _clip(value: int, ends: tuple[int, int]) -> int:
    return min(max(value, ends[0]), ends[1])


def _writable(values: Any, shape: Shape) -> np.ndarray:
    """Contiguous and writable, without numpy's habit of making one element of a 0-d array's own shape."""
    array: np.ndarray = np.require(np.asarray(values).reshape(shape), requirements=["C", "W"])
    return array


# masks and words ------------------------------------------------------------------------------------------------


def _prefix_mask(shape: Shape, rng: Rng) -> np.ndarray:
    """Ones, then zeros, along the last axis; every row keeps at least its first one, as padded batches do."""
    if not shape:
        return np.ones(shape, bool)
    lengths = rng.integers(1, max(shape[-1], 1) + 1, shape[:-1])
    mask: np.ndarray = np.arange(shape[-1]) < lengths[..., None]
    return mask


def _random_mask(shape: Shape, rng: Rng) -> np.ndarray:
    mask = rng.random(shape) < 0.5
    if shape and shape[-1]:
        mask[..., 0] = True
    return mask


def _alternating(shape: Shape, _rng: Rng) -> np.ndarray:
    return np.asarray(np.arange(int(np.prod(shape))).reshape(shape) % 2 == 0)


_MASK_MAKERS: dict[str, Callable[[Shape, Rng], np.ndarray]] = {
    "mask": _prefix_mask,
    "random_mask": _random_mask,
    "bernoulli": lambda shape, rng: rng.random(shape) < 0.5,
    "alternating": _alternating,
}

_WORDS = ["", "a", "edge", "model", "ONNX", "grüße", "日本", "two words"]


def _words(shape: Shape, rng: Rng) -> np.ndarray:
    chosen: np.ndarray = np.array(_WORDS, dtype=object)[rng.integers(0, len(_WORDS), int(np.prod(shape)))]
    return chosen.reshape(shape)
