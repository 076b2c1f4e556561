"""Masks: zeros and ones that stand for padding, causality or selection."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

Shape = tuple[int, ...]
Rng = np.random.Generator


def _lengths(shape: Shape, rng: Rng) -> np.ndarray:
    """How many are set per row: at least one, as in padded batches."""
    return np.asarray(rng.integers(1, max(shape[-1], 1) + 1, shape[:-1]))[..., None]


def _prefix(shape: Shape, rng: Rng) -> np.ndarray:
    return np.asarray(np.arange(shape[-1]) < _lengths(shape, rng)) if shape else np.ones(shape, bool)


def _suffix(shape: Shape, rng: Rng) -> np.ndarray:
    return np.asarray(np.arange(shape[-1]) >= shape[-1] - _lengths(shape, rng)) if shape else np.ones(shape, bool)


def _random(shape: Shape, rng: Rng) -> np.ndarray:
    mask = rng.random(shape) < 0.5
    if shape and shape[-1]:
        mask[..., 0] = True
    return np.asarray(mask)


def _alternating(shape: Shape, _rng: Rng) -> np.ndarray:
    return np.asarray(np.arange(int(np.prod(shape))).reshape(shape) % 2 == 0)


def _either_side(shape: Shape, rng: Rng) -> np.ndarray:
    kind = rng.integers(0, 4)
    return np.ones(shape, bool) if kind == 0 else _prefix(shape, rng) if kind == 1 else _suffix(shape, rng)


#: Recipe -> ``f(shape, rng) -> booleans``.
MASK_MAKERS: dict[str, Callable[[Shape, Rng], np.ndarray]] = {
    "mask": _prefix,
    "suffix_mask": _suffix,
    "random_mask": _random,
    "padding": _either_side,
    "bernoulli": lambda shape, rng: np.asarray(rng.random(shape) < 0.5),
    "alternating": _alternating,
}

#: What a tokenizer makes; what the zeros hide means nothing.
OF_PADDING = frozenset({"mask", "padding"})
