"""Brute force: grids of sizes, and values of many kinds. Shares no code with the plugin's fuzzing, on purpose."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from pytest_onnxprep.spec.signature import Signature
from pytest_onnxprep.spec.tensor import TensorSpec

#: Kinds of values; each is made for every input, whatever its dtype.
KINDS = ("plain", "uniform", "ends", "ties", "halves", "tens", "hundreds", "tiny", "negative", "zeros", "ones", "ramp")
EVERY_SIZE_UP_TO = 200


@dataclass(frozen=True)
class Draw:
    """Feeds in a few words: they can be made again from these."""

    sizes: Mapping[str, int]
    kind: str
    seed: int

    def to_json(self) -> dict[str, Any]:
        """For the record."""
        return {"sizes": dict(self.sizes), "kind": self.kind, "seed": self.seed}


def all_sizes(signature: Signature, limit: int = EVERY_SIZE_UP_TO) -> list[dict[str, int]]:
    """Every combination of sizes where there are at most ``limit``, else corners and an even spread."""
    ranges = {
        name: [size for size in range(dim.min, dim.max + 1) if size in dim] for name, dim in signature.dims.items()
    }
    if math.prod(map(len, ranges.values())) <= limit:
        combinations = [dict(zip(ranges, sizes, strict=True)) for sizes in itertools.product(*ranges.values())]
    else:
        combinations = list(_spread(ranges, signature.trace_sizes(), limit))
    return [sizes for sizes in combinations if _legal(signature, sizes)]


def _spread(ranges: dict[str, list[int]], traced: dict[str, int], limit: int) -> Iterator[dict[str, int]]:
    seen = set()
    ends = {name: dict.fromkeys([sizes[0], sizes[-1]]) for name, sizes in ranges.items()}
    rng = np.random.default_rng(0)
    candidates = itertools.chain(
        [traced],
        ({**traced, name: size} for name, sizes in ranges.items() for size in sizes),
        (dict(zip(ranges, sizes, strict=True)) for sizes in itertools.product(*ends.values())),
        ({name: int(rng.choice(sizes)) for name, sizes in ranges.items()} for _ in range(10 * limit)),
    )
    for sizes in candidates:
        key = tuple(sizes.items())
        if key not in seen:
            seen.add(key)
            yield sizes
        if len(seen) >= limit:
            return


def _legal(signature: Signature, sizes: Mapping[str, int]) -> bool:
    try:
        signature.shapes(sizes)
    except ValueError:
        return False
    return True


def draws(signature: Signature, *, sizes: int = EVERY_SIZE_UP_TO, extra: tuple[str, ...] = ()) -> Iterator[Draw]:
    """All draws of a brute-force check: every kind at some sizes, every size with some kinds."""
    combinations = all_sizes(signature, sizes)
    kinds = (*KINDS, *extra)
    for index, combination in enumerate(combinations):
        # All kinds at the first and the last few, three kinds in turn elsewhere: dense, but not a full product.
        every = index < 6 or index >= len(combinations) - 2
        chosen = kinds if every else ("plain", kinds[index % len(kinds)], kinds[(index * 5 + 3) % len(kinds)])
        for number, kind in enumerate(dict.fromkeys(chosen)):
            yield Draw(combination, kind, 1000 * index + number)


def make(signature: Signature, draw: Draw) -> dict[str, np.ndarray]:
    """The arrays of a draw."""
    rng = np.random.default_rng([draw.seed, 20])
    shapes = signature.shapes(dict(draw.sizes))
    return {name: _array(spec, shapes[name], draw.kind, name, rng) for name, spec in signature.inputs.items()}


def _array(spec: TensorSpec, shape: tuple[int, ...], kind: str, name: str, rng: np.random.Generator) -> np.ndarray:
    if callable(spec.values):
        return np.asarray(spec.values(rng, shape))
    if hasattr(spec.values, "example"):
        return _from_strategy(spec, shape, rng)
    masks = isinstance(spec.values, str) and "mask" in spec.values
    if masks or (spec.values is None and "mask" in name and spec.dtype != "float32" and spec.low is None):
        return _mask(shape, kind, rng).astype(_numpy(spec.dtype))
    if isinstance(spec.values, str):
        kind = {"zeros": "zeros", "ones": "ones", "ends": "ends", "ties": "ties"}.get(spec.values, "plain")
    if spec.dtype == "string":
        return rng.choice(np.array(["a", "b", "Hello", "naive", ""], dtype=object), shape)
    if spec.dtype == "bool":
        return _booleans(shape, kind, rng)
    return _ints(spec, shape, kind, rng) if "int" in spec.dtype else _floats(spec, shape, kind, rng)


def _floats(spec: TensorSpec, shape: tuple[int, ...], kind: str, rng: np.random.Generator) -> np.ndarray:
    low = -math.inf if spec.low is None else spec.low
    high = math.inf if spec.high is None else spec.high
    base_low, base_high = (low if math.isfinite(low) else -1.0), (high if math.isfinite(high) else 1.0)
    normal = rng.standard_normal(shape)
    made: Any = normal
    match kind:
        case "uniform":
            made = rng.uniform(base_low, base_high, shape)
        case "ends":
            made = rng.choice([low if math.isfinite(low) else -100.0, high if math.isfinite(high) else 100.0], shape)
        case "ties":
            made = rng.integers(-2, 3, shape)
        case "halves":
            made = rng.integers(-11, 12, shape) / 2
        case "tens":
            made = normal * 10
        case "hundreds":
            made = normal * 100
        case "tiny":
            made = normal * 1e-3
        case "negative":
            made = -np.abs(normal)
        case "zeros":
            made = np.zeros(shape)
        case "ones":
            made = np.ones(shape)
        case "ramp":
            made = np.linspace(base_low, base_high, max(1, math.prod(shape)))[: math.prod(shape)].reshape(shape)
        case "special":
            made = np.where(rng.random(shape) < 0.3, rng.choice([np.nan, np.inf, -np.inf, -0.0], shape), normal)
    return np.clip(made, low, high).astype(_numpy(spec.dtype))


def _ints(spec: TensorSpec, shape: tuple[int, ...], kind: str, rng: np.random.Generator) -> np.ndarray:
    dtype = _numpy(spec.dtype)
    info = np.iinfo(dtype)
    low = 0 if spec.low is None else int(spec.low)
    high = 10 if spec.high is None else int(spec.high)
    if spec.low is None and spec.high is None:
        if kind in ("negative", "hundreds", "tens") and info.min < 0:
            low, high = -300, 301
        elif kind == "ends":
            low, high = int(info.min), int(info.max) + 1
        low, high = max(low, int(info.min)), min(high, int(info.max) + 1)
    match kind:
        case "ends":
            return rng.choice(np.array([low, high - 1], dtype=dtype), shape)
        case "ties":
            return rng.integers(low, min(low + 3, high), shape, dtype=dtype)
        case "zeros":
            return np.full(shape, min(max(0, low), high - 1), dtype)
        case "ones":
            return np.full(shape, min(max(1, low), high - 1), dtype)
        case "ramp":
            return (low + np.arange(math.prod(shape)) % (high - low)).reshape(shape).astype(dtype)
    return rng.integers(low, high, shape, dtype=dtype)


def _mask(shape: tuple[int, ...], kind: str, rng: np.random.Generator) -> np.ndarray:
    if kind in ("ones", "uniform") or not shape or shape[-1] == 0:
        return np.ones(shape, np.int64)
    if kind in ("ties", "halves", "negative"):
        mask = rng.integers(0, 2, shape)
        mask[..., 0] = 1
        return mask
    lengths = rng.integers(1, shape[-1] + 1, (*shape[:-1], 1))
    return (np.arange(shape[-1]) < lengths).astype(np.int64)


def _booleans(shape: tuple[int, ...], kind: str, rng: np.random.Generator) -> np.ndarray:
    if kind in ("zeros", "ones"):
        return np.full(shape, kind == "ones")
    return rng.random(shape) < (0.9 if kind == "ends" else 0.5)


_pools: dict[int, np.ndarray] = {}


def _from_strategy(spec: TensorSpec, shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """Elements picked from a pool of draws of the user's strategy."""
    if id(spec) not in _pools:
        import hypothesis
        from hypothesis import strategies as st

        pool: list[Any] = []

        @hypothesis.settings(max_examples=200, database=None, derandomize=True, deadline=None)
        @hypothesis.given(st.data())
        def fill(data: Any) -> None:
            pool.append(data.draw(spec.values))

        fill()
        _pools[id(spec)] = np.array([item for item in pool if np.ndim(item) == 0], dtype=_numpy(spec.dtype))
    return rng.choice(_pools[id(spec)], shape)


def _numpy(dtype: str) -> Any:
    if dtype == "bfloat16":
        import ml_dtypes

        return np.dtype(ml_dtypes.bfloat16)
    return np.dtype(dtype)
