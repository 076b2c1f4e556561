"""Float recipes: signs, ties, rounding boundaries and magnitudes, inside the declared range."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from pytest_onnxprep.spec.tensor import TensorSpec

Shape = tuple[int, ...]
Rng = np.random.Generator

#: ``f(shape, rng, dtype) -> values`` without declared bounds.
_FREE: dict[str, Callable[[Shape, Rng, Any], Any]] = {
    "normal": lambda shape, rng, wide: rng.standard_normal(shape, dtype=wide),
    "uniform": lambda shape, rng, wide: rng.random(shape, dtype=wide) * wide(2) - wide(1),
    "zeros": lambda shape, _rng, wide: np.zeros(shape, wide),
    "ones": lambda shape, _rng, wide: np.ones(shape, wide),
    "constant": lambda shape, rng, wide: np.full(shape, rng.standard_normal(dtype=wide) * wide(3)),
    "onehot": lambda shape, rng, wide: _one_hot(np.zeros(shape, wide), wide(1), rng),
    "repeated": lambda shape, rng, wide: _repeated(rng.standard_normal(_row(shape), dtype=wide), shape),
    "ramp": lambda shape, _rng, wide: np.linspace(-1, 1, _count(shape), dtype=wide).reshape(shape),
    "ties": lambda shape, rng, wide: np.round(rng.standard_normal(shape, dtype=wide)),
    "halves": lambda shape, rng, wide: np.round(rng.standard_normal(shape, dtype=wide) * wide(4)) / wide(2),
    "steps": lambda shape, rng, wide: np.round(rng.standard_normal(shape, dtype=wide) * wide(10)) * wide(0.1),
    "sparse": lambda shape, rng, wide: rng.standard_normal(shape, dtype=wide) * (rng.random(shape) < 0.1),
    "small": lambda shape, rng, wide: rng.standard_normal(shape, dtype=wide) * wide(1e-3),
    "tiny": lambda shape, rng, wide: rng.standard_normal(shape, dtype=wide) * wide(1e-6),
    "denormals": lambda shape, rng, wide: rng.standard_normal(shape, dtype=wide) * wide(1e-39),
    "large": lambda shape, rng, wide: rng.standard_normal(shape, dtype=wide) * wide(10),
    "huge": lambda shape, rng, wide: rng.standard_normal(shape, dtype=wide) * wide(1e3),
}
_SPECIAL = {
    "special": (np.nan, np.inf, -np.inf, 0.0, -0.0),
    "nan": (np.nan,),
    "infinities": (np.inf, -np.inf),
}


def float_values(recipe: str, spec: TensorSpec, shape: Shape, rng: Rng, wide: Any) -> Any:
    """The values of one recipe.

    Args:
        recipe: a float recipe.
        spec: holds the declared range, if any.
        shape: concrete shape.
        rng: source of randomness.
        wide: ``np.float32`` or ``np.float64``: what is drawn in.
    """
    if recipe in _SPECIAL:
        return _sprinkled(np.asarray(rng.standard_normal(shape, dtype=wide)), _SPECIAL[recipe], rng)
    if spec.low is None and spec.high is None:
        return _FREE[recipe if recipe in _FREE else "normal"](shape, rng, wide)
    return np.clip(_bound(recipe, *_ends(spec), shape, rng, wide), spec.low, spec.high)


def _bound(recipe: str, low: float, high: float, shape: Shape, rng: Rng, wide: Any) -> Any:
    """Values over ``low..high``; the caller clips what rounding or a named constant carries outside."""
    if recipe in ("zeros", "ones", "normal", "small", "tiny", "large", "huge", "denormals"):
        return _FREE[recipe](shape, rng, wide)
    if recipe == "ends":
        return np.where(rng.random(shape) < 0.5, wide(low), wide(high))
    if recipe == "ramp":
        return np.linspace(low, high, _count(shape), dtype=wide).reshape(shape)
    if recipe == "onehot":
        return _one_hot(np.full(shape, low, wide), wide(high), rng)
    if recipe == "constant":
        return np.full(shape, wide(low + (high - low) * rng.random()))
    if recipe == "repeated":
        return _repeated(_uniform(low, high, _row(shape), rng, wide), shape)
    values = _uniform(low, high, shape, rng, wide)
    if recipe == "ties":  # four levels of the range
        return np.round((values - wide(low)) * wide(3 / (high - low or 1))) * wide((high - low) / 3) + wide(low)
    if recipe == "halves":
        step = wide(0.5 if high - low >= 4 else 0.125)
        return np.round(values / step) * step
    if recipe == "steps":
        return np.round(values * wide(10)) * wide(0.1)
    if recipe == "sparse":
        return np.where(rng.random(shape) < 0.1, values, np.copysign(wide(0), values))  # zeros of both signs
    return values


def _ends(spec: TensorSpec) -> tuple[float, float]:
    """The declared range; an open end lies one unit beyond the other."""
    low = float(spec.low) if spec.low is not None else float(spec.high or 0) - 1
    high = float(spec.high) if spec.high is not None else low + 1
    return low, high


def _uniform(low: float, high: float, shape: Shape, rng: Rng, wide: Any) -> Any:
    return rng.random(shape, dtype=wide) * wide(high - low) + wide(low)


def _row(shape: Shape) -> Shape:
    return (min(shape[0], 1), *shape[1:]) if shape else shape


def _repeated(row: Any, shape: Shape) -> Any:
    return np.broadcast_to(row, shape) if 0 not in shape else np.zeros(shape, row.dtype)


def _count(shape: Shape) -> int:
    return int(np.prod(shape))


def _one_hot(values: np.ndarray, hot: Any, rng: Rng) -> np.ndarray:
    """One element per row of the last axis is ``hot``."""
    if values.size and values.ndim:
        rows = values.reshape(-1, values.shape[-1])
        rows[np.arange(len(rows)), rng.integers(0, rows.shape[1], len(rows))] = hot
    return values


def _sprinkled(values: np.ndarray, special: tuple[float, ...], rng: Rng) -> np.ndarray:
    """Sprinkle special values over about a tenth of the elements, at least one."""
    flat = values.reshape(-1)
    if flat.size:
        where = rng.integers(0, flat.size, max(1, flat.size // 10))
        flat[where] = rng.choice(np.array(special, values.dtype), where.size)
    return values
