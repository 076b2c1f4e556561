"""The sizes tried before anything random: where conversions break."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from pytest_onnxprep.spec.dims import Dim
from pytest_onnxprep.spec.errors import SpecError
from pytest_onnxprep.spec.signature import Signature

Sizes = dict[str, int]


def corner_sizes(signature: Signature) -> list[Sizes]:
    """Sizes at the edges of every range, the traced ones first, each combination once.

    Each dim at min, max, one step inside these and one step off what was traced; twice what was traced; around the
    powers of two inside its range; all dims at min, all at max, all equal, all different, one at max and the others
    at min; and 0 where the range has it. Combinations in which an expression turns negative are left out.
    """
    found: dict[tuple[int, ...], Sizes] = {}
    for sizes in _candidates(signature.dims, signature.trace_sizes()):
        try:
            signature.shapes(sizes)
        except SpecError:
            continue
        found.setdefault(tuple(sizes.values()), sizes)
    return list(found.values())


def _candidates(dims: Mapping[str, Dim], traced: Sizes) -> Iterator[Sizes]:
    yield dict(traced)
    if not dims:
        return
    smallest = {name: dim.smallest_filled for name, dim in dims.items()}
    yield dict(smallest)
    yield {name: dim.largest for name, dim in dims.items()}
    for pick in range(5):
        for name, dim in dims.items():
            wanted = edges(dim, traced[name])
            if pick < len(wanted):
                yield {**traced, name: wanted[pick]}
    yield from _all_equal(dims)
    yield from _all_different(dims)
    if len(dims) > 1:
        for name, dim in dims.items():
            yield {**smallest, name: dim.largest}
    for name, dim in dims.items():
        for edge in edges(dim, traced[name])[5:]:
            yield {**smallest, name: edge}
    if any(dim.smallest == 0 for dim in dims.values()):
        for name, dim in dims.items():
            if dim.smallest == 0:
                yield {**traced, name: 0}


def edges(dim: Dim, traced: int) -> list[int]:
    """The interesting sizes of one dim, the most telling first."""
    step = dim.multiple_of
    low, high = max(dim.smallest, min(step, dim.largest)), dim.largest
    wanted = [high, low, traced + step, low + step, traced - step, high - step, 2 * traced, 2 * traced + step]
    power = 2
    while power <= high and len(wanted) < 20:
        wanted += [power, power + step, power - step]
        power *= 2
    return list(dict.fromkeys(size for size in wanted if size in dim and size > 0))[:14]


def _all_equal(dims: Mapping[str, Dim]) -> Iterator[Sizes]:
    low = max(dim.smallest for dim in dims.values())
    high = min(dim.largest for dim in dims.values())
    for size in range(max(low, 2), high + 1):
        if all(size in dim for dim in dims.values()):
            yield dict.fromkeys(dims, size)
            return


def _all_different(dims: Mapping[str, Dim]) -> Iterator[Sizes]:
    sizes: Sizes = {}
    for name, dim in dims.items():
        size = max(dim.smallest, dim.multiple_of)
        while size in sizes.values() and size + dim.multiple_of <= dim.largest:
            size += dim.multiple_of
        sizes[name] = min(size, dim.largest)
    yield sizes
    if len(set(sizes.values())) == len(sizes) and len(sizes) > 1:
        backwards: Sizes = {}
        for name, dim in reversed(list(dims.items())):
            size = dim.smallest + dim.multiple_of
            while (size in backwards.values() or size == 0) and size + dim.multiple_of <= dim.largest:
                size += dim.multiple_of
            backwards[name] = min(size, dim.largest)
        yield {name: backwards[name] for name in dims}
