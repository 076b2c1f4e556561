"""Recognises a value of the ONNX file among the framework's own, by what it holds."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import permutations

import numpy as np

from pytest_onnxprep.sources.trace import Digest, Trace, Traced, digest, take

#: How far order-free figures may differ before elements are looked at: generous, and it saves nearly all the work.
_ROUGHLY = 0.02
_FEW = 4
#: Multiples of its inverse are numbers a person might write.
_ROUND = 1000.0


@dataclass(frozen=True, slots=True)
class Match:
    """The framework value an ONNX tensor equals.

    Attributes:
        place: position in the trace.
        error: largest difference of the elements, by the value's own scale.
        same_shape: whether the shapes are equal too.
        permuted: whether the axes stand in another order.
        strong: whether it can hardly be chance: enough elements that differ among themselves.
        shapes: shapes of all framework values with these elements in this order.
    """

    place: int
    error: float
    same_shape: bool
    permuted: bool
    strong: bool
    shapes: frozenset[tuple[int, ...]] = frozenset()


class Pool:
    """The framework's values, by size.

    Args:
        trace: what the framework computed.
        layouts: whether axes may stand in another order, as channels do in ONNX files made from TensorFlow.

    Attributes:
        covered: positions of the values that some tensor equalled.
    """

    def __init__(self, trace: Trace, *, layouts: bool) -> None:
        self.trace = trace
        self.layouts = layouts
        self.covered: set[int] = set()
        self._by_size: dict[int, _Shelf] = {}
        for place, value in enumerate(trace.values):
            if value.digest.size:
                self._by_size.setdefault(value.digest.size, _Shelf()).add(place, value)

    def match(self, array: np.ndarray, tolerance: float, *, weights: bool = False) -> Match | None:
        """The best match within a tolerance.

        Args:
            array: the ONNX tensor.
            tolerance: largest difference allowed, by the value's own scale.
            weights: whether it is a weight, whose axes may stand in any order.
        """
        made = digest(array)
        shelf = self._by_size.get(array.size)
        if made is None or shelf is None:
            return None
        best: Match | None = None
        views: dict[tuple[int, ...], np.ndarray] = {}
        shapes = set()
        for place, value in shelf.near(made):
            found = self._compare(array, made, place, value, tolerance, weights, views)
            if found is None:
                continue
            self.covered.add(place)
            if not found.permuted:
                shapes.add(value.digest.shape)
            if best is None or self._rank(found) < self._rank(best):
                best = found
        return None if best is None else replace(best, shapes=frozenset(shapes))

    def _rank(self, match: Match) -> tuple[bool, bool, bool, int]:
        """What the framework's own operators wrote comes before the steps inside them, which nothing reads."""
        return (match.permuted, not match.same_shape, self.trace.values[match.place].inner, match.place)

    def _compare(
        self,
        array: np.ndarray,
        made: Digest,
        place: int,
        value: Traced,
        tolerance: float,
        weights: bool,
        views: dict[tuple[int, ...], np.ndarray],
    ) -> Match | None:
        other = value.digest
        if (made.kind == "f") != (other.kind == "f") and made.size < _FEW:
            return None
        strong = _is_telling(made)
        error = sample_error(other.sample, made.sample, other.scale)
        if error <= tolerance:
            return Match(place, error, made.shape == other.shape, False, strong)
        if not (self.layouts or weights) or made.is_plain:
            return None
        for axes in layout_orders(array.ndim, weights):
            shape = tuple(array.shape[axis] for axis in axes)
            if shape != other.shape:
                continue
            if axes not in views:
                views[axes] = take(np.transpose(array, axes).reshape(-1))
            error = sample_error(other.sample, views[axes], other.scale)
            if error <= tolerance:
                return Match(place, error, False, True, strong)
        return None


class _Shelf:
    """Values of one size."""

    def __init__(self) -> None:
        self.places: list[int] = []
        self.values: list[Traced] = []
        self._figures: np.ndarray | None = None

    def add(self, place: int, value: Traced) -> None:
        self.places.append(place)
        self.values.append(value)

    def near(self, made: Digest) -> Iterator[tuple[int, Traced]]:
        """The values whose range and norm are about the same."""
        if self._figures is None:
            rows = [(v.digest.low, v.digest.high, v.digest.norm if v.digest.kind == "f" else -1.0) for v in self.values]
            self._figures = np.array(rows)
        wanted = np.array([made.low, made.high, made.norm])
        room = _ROUGHLY * max(made.scale, 1e-30)
        close = np.abs(self._figures[:, :2] - wanted[:2]).max(axis=1) <= room
        if made.kind == "f":
            close &= (np.abs(self._figures[:, 2] - made.norm) <= room) | (self._figures[:, 2] < 0)
        for index in np.flatnonzero(close):
            yield self.places[index], self.values[index]


def sample_error(expected: np.ndarray, actual: np.ndarray, scale: float) -> float:
    """Largest difference by the expected scale; infinite where NaN, infinities or sizes do not agree."""
    if expected.shape != actual.shape:
        return float("inf")
    with np.errstate(invalid="ignore", over="ignore"):
        difference = np.abs(expected - actual)
    worst = float(difference.max()) if difference.size else 0.0
    if np.isfinite(worst):
        return worst / max(scale, 1e-30) if worst else 0.0
    agrees = (expected == actual) | (np.isnan(expected) & np.isnan(actual))
    special = ~(np.isfinite(expected) & np.isfinite(actual))
    if (special & ~agrees).any():
        return float("inf")
    worst = float(difference[~special].max()) if (~special).any() else 0.0
    return worst / max(scale, 1e-30)


def _is_telling(made: Digest) -> bool:
    """Whether a value can hardly equal another by chance: not all the same round number, no two or three integers."""
    if made.kind == "f":
        return not made.is_plain or bool(made.high * _ROUND % 1.0)
    return made.size >= _FEW and not made.is_plain


def layout_orders(rank: int, weights: bool = False) -> Iterator[tuple[int, ...]]:
    """Orders of axes to try: channels first and last for values, any for the small ranks of weights."""
    if weights and rank <= _FEW:
        yield from (order for order in permutations(range(rank)) if order != tuple(range(rank)))
    elif rank >= 3:
        yield (0, *range(2, rank), 1)
        yield (0, rank - 1, *range(1, rank - 1))
        if rank == 3:
            yield (1, 0, 2)
