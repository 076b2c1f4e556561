"""From an example that fails to the smallest and plainest one that still does."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

from pytest_onnxprep.fuzz.example import Example, Maker
from pytest_onnxprep.spec.dims import Dim
from pytest_onnxprep.spec.errors import SpecError
from pytest_onnxprep.spec.tensor import RECIPES

_PLAINNESS = {name: rank for rank, name in enumerate(["ones", "zeros", *RECIPES])}


def shrink(
    example: Example, fails: Callable[[Example], bool], maker: Maker, *, max_tries: int = 120, max_s: float = 10.0
) -> Example:
    """Greedy minimisation: sizes first (dims that are equal also together), then recipes, then the seed.

    Hypothesis's own shrinker takes up to five minutes and knows nothing of the corners; the space here is a few
    integers, so a bounded greedy search does.

    Args:
        example: fails.
        fails: whether a candidate still fails; an input the framework refuses does not.
        maker: signature and recipes.
        max_tries: calls of ``fails`` at most.
        max_s: seconds at most.
    """
    if example.sample:
        return example
    deadline = time.monotonic() + max_s
    tries = 0
    improved = True
    while improved:
        improved = False
        for candidate in _simpler(example, maker):
            if tries >= max_tries or time.monotonic() > deadline:
                return example
            tries += 1
            if fails(candidate):
                example, improved = candidate, True
                break
    return example


def _simpler(example: Example, maker: Maker) -> Iterator[Example]:
    """Candidates simpler than ``example``, the boldest first."""
    dims = maker.signature.dims
    smallest = {name: dim.smallest_filled for name, dim in dims.items()}
    if dict(example.sizes) != smallest:
        yield from _legal(Example(smallest, example.recipes, example.seed), maker)
    for name, dim in dims.items():
        for size in _smaller(example.sizes[name], dim):
            together = {other: size for other in dims if example.sizes[other] == example.sizes[name]}
            if len(together) > 1 and all(size in dims[other] for other in together):
                yield from _legal(Example({**example.sizes, **together}, example.recipes, example.seed), maker)
            yield from _legal(Example({**example.sizes, name: size}, example.recipes, example.seed), maker)
    for name, kinds in maker.recipes.items():
        rank = _PLAINNESS.get(example.recipes[name], len(_PLAINNESS))
        for kind in sorted(kinds, key=lambda kind: _PLAINNESS.get(kind, len(_PLAINNESS))):
            if _PLAINNESS.get(kind, len(_PLAINNESS)) < rank:
                yield Example(example.sizes, {**example.recipes, name: kind}, example.seed)
    if example.seed > 1:
        yield Example(example.sizes, example.recipes, 1)
    if example.seed:
        yield Example(example.sizes, example.recipes, 0)


def _smaller(size: int, dim: Dim) -> Iterator[int]:
    """The smallest size, then halving steps towards ``size``, then one step less."""
    low, step = dim.smallest_filled, dim.multiple_of
    gap = (size - low) // step
    seen = set()
    while gap > 0:
        candidate = size - gap * step
        if candidate not in seen:
            seen.add(candidate)
            yield candidate
        gap //= 2


def _legal(example: Example, maker: Maker) -> Iterator[Example]:
    try:
        maker.signature.shapes(example.sizes)
    except SpecError:
        return
    yield example
