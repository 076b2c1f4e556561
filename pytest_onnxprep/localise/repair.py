"""Tries suspects out: the fault lies before the tensor in whose place the framework's value mends the outputs."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from pytest_onnxprep.localise.evidence import layer_of
from pytest_onnxprep.localise.graph import Arrays
from pytest_onnxprep.localise.match import layout_orders, sample_error
from pytest_onnxprep.localise.observe import SHAPERS, Observation
from pytest_onnxprep.localise.probe import Probe, is_array, open_session
from pytest_onnxprep.runtime import watchdog
from pytest_onnxprep.sources.trace import Digest, digest

#: An output is mended where this share of its error is left, at most.
_MENDED = 0.1
#: Where there was no output to begin with: an error of this share of its scale.
_RIGHT = 1e-3
_BEHIND, _BEFORE, _VALUES = 16, 40, 8
_START = 3
_LARGEST_BYTES = 60_000_000

Whole = Callable[[frozenset[int]], Mapping[int, np.ndarray]]


@dataclass
class Repair:
    """Puts values of the framework into the graph, one at a time.

    Args:
        seen: what is known of every tensor.
        probe: fetches values.
        expected: the reference's outputs.
        failing: those of the file that are wrong.
        whole: fetches whole values of the framework by their positions.
        deadline: ``time.monotonic()`` after which nothing new is started.
        layouts: whether axes may stand in another order.
        same: values no further apart by their scale are equal: putting one in the other's stead mends nothing.
    """

    seen: Observation
    probe: Probe
    expected: Arrays
    failing: list[str]
    whole: Whole
    deadline: float
    layouts: bool
    same: float
    _by: dict[int, int] = field(default_factory=dict)
    _asked: set[int] = field(default_factory=set)
    _partly: dict[int, int] = field(default_factory=dict)
    _before: dict[str, float] = field(default_factory=dict)
    _whole: dict[int, np.ndarray] = field(default_factory=dict)

    def culprit(self, starts: Iterable[int]) -> int | None:
        """The first node, around some, whose result need only be the framework's for the outputs to be right."""
        actual = self.probe.fetch(self.failing)
        self._before = {name: _distance(self.expected.get(name), actual.get(name)) for name in self.failing}
        first = list(starts)[:_START]
        before, parents, behind = self._around(first)
        for index in (*before, *parents):
            if self._tried(index) is not None:
                return self._end_of_detour(index)
        for index in behind:
            place = self._tried(index)
            if place is not None:
                # What the framework never made further up need not have gone wrong here only.
                return (
                    self._end_of_detour(index)
                    if self._is_known(index, place) or self._asked.issuperset(first)
                    else None
                )
        return next(iter(self._partly), None)

    def _tried(self, index: int) -> int | None:
        """The place of the value that mends the outputs in a node's stead."""
        for name in self.seen.graph.nodes[index].output:
            if time.monotonic() > self.deadline:
                return None
            place = self._mends(index, name) if name else None
            if place is not None:
                self._by[index] = place
                return place
        return None

    def _is_known(self, index: int, place: int) -> bool:
        """Whether a node should simply have passed on what something before it made."""
        graph = self.seen.graph
        stop = [i for i in range(index) if self.seen.firm(i)]
        names = {name for i in graph.ancestors([index], stop=stop) for name in graph.reads[i]}
        return any(name in self.seen.matches and self._equal(self.seen.matches[name].place, place) for name in names)

    def _equal(self, one: int, other: int) -> bool:
        left, right = self.seen.trace.values[one].digest, self.seen.trace.values[other].digest
        return one == other or (
            left.size == right.size and sample_error(left.sample, right.sample, left.scale) <= self.same
        )

    def _end_of_detour(self, index: int) -> int:
        """The last of some nodes in a row that the framework has nothing for."""
        graph = self.seen.graph
        if not self._is_known(index, self._by[index]):
            return index
        current = index
        while True:
            after = list(graph.after(current))
            moving = (
                [n for n in graph.reads[after[0]] if graph.producer.get(n, -1) not in graph.constant] if after else []
            )
            moving = [n for n in moving if n not in graph.initializers]
            if len(after) != 1 or len(moving) != 1 or self._tried(after[0]) is None:
                return current
            if not self._equal(self._by[after[0]], self._by[index]):
                return current
            current = after[0]

    def _around(self, starts: list[int]) -> tuple[list[int], list[int], list[int]]:
        """The starts and what is not firm before them; what they read; some behind; each in the graph's order."""
        graph = self.seen.graph
        firm = {index for index in range(len(graph.nodes)) if self.seen.firm(index)}
        passed = firm | graph.constant
        before = {*starts, *_walk(starts, lambda index: (b for b in graph.before(index) if b not in passed), _BEFORE)}
        before = {index for index in before if index in starts or not self._as_meant(index)}
        parents = {b for index in starts for b in graph.before(index) if b not in graph.constant} - before
        behind = set(_walk(starts, lambda index: (a for a in graph.after(index) if a not in passed), _BEHIND))
        return sorted(before), sorted(parents), sorted(behind - before - parents)

    def _as_meant(self, index: int) -> bool:
        """Whether a node's plain numbers are those of the framework's operator of the same name."""
        node = self.seen.graph.nodes[index]
        if node.op_type in SHAPERS and node.input[0] in self.seen.graph.producer:
            return self._as_meant(self.seen.graph.producer[node.input[0]])
        found = [self.seen.matches[name] for name in node.output if name in self.seen.matches]
        return any(
            m.same_shape and node.op_type.lower() in self.seen.trace.values[m.place].operator.lower() for m in found
        )

    def _mends(self, index: int, name: str) -> int | None:
        """The place of a value of the framework that, in the stead of this tensor, makes the outputs right."""
        seen, graph = self.seen, self.seen.graph
        reached = graph.descendants(graph.consumers.get(name, ()))
        wrong = [one for one in self.failing if graph.producer.get(one) in reached or one == name]
        if any(refuser not in reached for refuser in seen.refusals if refuser != index):
            return None
        if not wrong or (len(wrong) < len(self.failing) and not seen.refusals):
            return None
        mine = self.probe.fetch([name]).get(name)
        if mine is None and index in seen.refusals:
            mine = next(iter(self.probe.fetch(graph.reads[index][:1]).values()), None)
        if mine is None or not is_array(mine) or not (mine.size or seen.refusals):
            return None
        places = self._places(index, mine)
        if not places:
            return None
        self._asked.add(index)
        try:
            session, feeds = self._session(name, mine, reached, wrong)
        except Exception:  # what it reads cannot be had
            return None
        for place, value in self._values(places, mine):
            if time.monotonic() > self.deadline:
                return None
            found = self._run(session, feeds, name, value, wrong)
            mended = [] if found is None else [one for one in wrong if self._is_mended(one, found.get(one))]
            if len(mended) == len(wrong):
                return place
            if mended:
                self._partly.setdefault(index, place)
        return None

    def _session(
        self, name: str, mine: np.ndarray, reached: set[int], wrong: list[str]
    ) -> tuple[Any, dict[str, np.ndarray]]:
        graph = self.seen.graph
        part = reached & graph.ancestors(graph.producer[one] for one in wrong if one in graph.producer)
        made = {output for index in part for output in graph.nodes[index].output}
        outside = {n for i in part for n in graph.reads[i] if n not in made and n not in graph.initializers} - {name}
        feeds = self.probe.fetch(sorted(outside))
        if outside - set(feeds):
            raise LookupError(name)
        wanted = [one for one in wrong if one != name]
        if not wanted:
            return None, feeds
        part_of = graph.cut(part, {**feeds, name: mine}, wanted)
        return open_session(part_of, self.probe.folder, graph.custom_ops), feeds

    def _run(
        self, session: Any, feeds: Arrays, name: str, value: np.ndarray, wrong: list[str]
    ) -> dict[str, np.ndarray] | None:
        found = {name: value}
        if session is None:
            return found
        wanted = [one for one in wrong if one != name]
        taken = {one.name for one in session.get_inputs()}
        try:
            given = {n: a for n, a in {**feeds, name: value}.items() if n in taken}
            values = watchdog.run(session.run, wanted, given, "a part of the model")
        except Exception:  # a shape that does not fit
            return None
        return {**found, **dict(zip(wanted, values, strict=True))}

    def _is_mended(self, name: str, actual: Any) -> bool:
        left, before = _distance(self.expected.get(name), actual), self._before.get(name, np.inf)
        if not np.isfinite(before):
            return left <= _RIGHT
        return left <= _MENDED * before

    def _places(self, index: int, mine: np.ndarray) -> list[int]:
        """Values that a node may have had to make: as many elements, close behind what it reads, of its layer first."""
        seen, graph = self.seen, self.seen.graph
        values = seen.trace.values
        made = digest(mine)
        if made is None:
            return []
        anchors = [seen.matches[name].place for name in graph.reads[index] if name in seen.matches]
        if not anchors:
            near = graph.ancestors([index], stop=[i for i in range(index) if seen.firm(i)])
            anchors = [seen.matches[o].place for i in near for o in graph.nodes[i].output if o in seen.matches]
        anchor = max(anchors, default=0)
        layer = layer_of(seen, index)
        aligned = seen.aligned.get(next((n for n in graph.nodes[index].output if n), ""))
        found = []
        for place, value in enumerate(values):
            other = value.digest
            if value.operator == "weight" or not self._fits(other, made):
                continue
            same = other.size == made.size and sample_error(other.sample, made.sample, other.scale) <= self.same
            if same and not seen.refusals and not self._turned(other.shape, mine):
                continue
            away = place - anchor if place >= anchor else 4 * (anchor - place)
            elsewhere = bool(layer) and value.layer != layer
            found.append((place != aligned, elsewhere, other.shape != made.shape, value.inner, away, place))
        return [entry[-1] for entry in sorted(found)[:_VALUES]]

    def _fits(self, other: Digest, made: Digest) -> bool:
        if self.seen.refusals and len(other.shape) == len(made.shape):
            return other.kind == made.kind
        return other.size == made.size > 0 and (other.kind == "f") == (made.kind == "f")

    def _turned(self, shape: tuple[int, ...], mine: np.ndarray) -> bool:
        return shape != mine.shape and sorted(shape) == sorted(mine.shape)

    def _values(self, places: list[int], mine: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
        needed = [p for p in places if p not in self._whole and not self._small(p)]
        if needed and mine.nbytes * len(needed) <= _LARGEST_BYTES:
            self._whole |= dict(self.whole(frozenset(needed)))
        for place in places:
            shape = self.seen.trace.values[place].digest.shape
            value = self._whole.get(place)
            if value is None and self._small(place):
                value = self.seen.trace.values[place].digest.sample.reshape(shape)
            if value is None:
                continue
            for form in self._forms(value, mine):
                yield place, form.astype(mine.dtype)

    def _forms(self, value: np.ndarray, mine: np.ndarray) -> Iterator[np.ndarray]:
        """A value in the shapes in which the file may want it."""
        if value.shape == mine.shape or value.size != mine.size:
            yield value
            return
        if self.layouts:
            for axes in layout_orders(value.ndim):
                turned = np.transpose(value, axes)
                if turned.shape == mine.shape:
                    yield np.ascontiguousarray(turned)
        if self.seen.refusals or self._turned(value.shape, mine):
            yield value
        yield value.reshape(mine.shape)

    def _small(self, place: int) -> bool:
        found = self.seen.trace.values[place].digest
        return found.sample.size == found.size


def _walk(starts: list[int], step: Callable[[int], Iterator[int]], limit: int) -> list[int]:
    """The nearest nodes in one direction."""
    found: dict[int, None] = {}
    waiting = list(starts)
    while waiting and len(found) < limit:
        for other in step(waiting.pop(0)):
            if other not in found:
                found[other] = None
                waiting.append(other)
    return list(found)[:limit]


def _distance(expected: np.ndarray | None, actual: Any) -> float:
    """Largest difference by the expected scale; infinite where the two cannot be compared."""
    if expected is None or actual is None or not is_array(actual) or expected.shape != actual.shape:
        return float("inf")
    if expected.dtype.kind != "f":
        return float(np.mean(expected != actual)) if expected.size else 0.0
    one, other = expected.astype(np.float64).reshape(-1), actual.astype(np.float64).reshape(-1)
    finite = one[np.isfinite(one)]
    return sample_error(one, other, float(np.abs(finite).max(initial=0.0)))
