"""Which tensors of an ONNX file the framework computes too."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from pytest_onnxprep.localise.graph import SIZES, Graph
from pytest_onnxprep.localise.match import Match, Pool
from pytest_onnxprep.localise.probe import Probe, is_array
from pytest_onnxprep.sources.trace import Trace

_FEW = 4
#: Operators that reshape without computing: only an equal shape says that they did it right.
SHAPERS = frozenset({"Reshape", "Squeeze", "Unsqueeze", "Flatten"})
#: Operators that may well write what they read.
_MOVERS = SHAPERS | {"Transpose", "Identity", "Expand", "Cast", "Slice", "Gather", "Concat", "Tile", "Split"}
_BODIES = frozenset({"Loop", "Scan", "If"})


@dataclass
class Observation:
    """What is known of every tensor.

    Attributes:
        graph: the file's graph.
        trace: the framework's values.
        matches: tensor -> the framework value it equals.
        shapes: tensor -> its shape.
        computed: float tensors of more than a few elements, not all the same.
        seen: tensors that were looked at.
        refusals: node -> why ONNX Runtime did not run it.
        why: what could not be looked at.
        aligned: tensor -> its place in the framework's values, known from an example on which it is right.
    """

    graph: Graph
    trace: Trace
    matches: dict[str, Match] = field(default_factory=dict)
    shapes: dict[str, tuple[int, ...]] = field(default_factory=dict)
    computed: set[str] = field(default_factory=set)
    seen: set[str] = field(default_factory=set)
    refusals: dict[int, str] = field(default_factory=dict)
    why: str = ""
    aligned: dict[str, int] = field(default_factory=dict)

    def proven(self, index: int) -> bool:
        """Whether a node's result is one of the framework's, and hardly by chance."""
        node = self.graph.nodes[index]
        found = [self.matches[name] for name in node.output if name in self.matches]
        if node.op_type in SHAPERS:
            return any(match.strong and match.same_shape for match in found)
        if node.op_type == "Transpose" and self._moves_nothing(index):
            return False
        if node.op_type in _BODIES:  # what a body passes on unchanged says nothing of what it computes
            through = {self.matches[name].place for name in self.graph.reads[index] if name in self.matches}
            if any(name in self.computed and name not in self.matches for name in node.output):
                return False
            return any(match.strong and match.place not in through for match in found)
        return any(match.strong for match in found)

    def firm(self, index: int) -> bool:
        """Whether a node's result is one of the framework's that is not simply what the node read."""
        node = self.graph.nodes[index]
        if not self.proven(index):
            return False
        if node.op_type in _MOVERS:
            return True
        read = {self.matches[name].place for name in self.graph.reads[index] if name in self.matches}
        return any(
            self.matches[n].strong and self.matches[n].place not in read for n in node.output if n in self.matches
        )

    def sizing(self) -> set[int]:
        """Nodes that compute with sizes; what they look up in weights is no size any more."""
        found: set[int] = set()
        for index in sorted(self.graph.sizing):
            node = self.graph.nodes[index]
            lost = [b for b in self.graph.before(index) if b in self.graph.sizing and b not in found]
            if node.op_type in SIZES or not (lost or self.computed.intersection(node.output)):
                found.add(index)
        return found

    def moved(self, index: int) -> bool:
        """Whether a node only reshapes what is right, into a rank in which the framework never has it."""
        node = self.graph.nodes[index]
        match = self.matches.get(node.output[0])
        if node.op_type not in SHAPERS or match is None or not match.strong:
            return False
        if node.op_type != "Reshape":
            return True
        rank = len(self.shapes.get(node.output[0], ()))
        return all(len(shape) != rank for shape in match.shapes)

    def _moves_nothing(self, index: int) -> bool:
        """Whether a Transpose gives the very value it reads, in another shape than the framework ever has it."""
        node = self.graph.nodes[index]
        before, after = self.matches.get(node.input[0]), self.matches.get(node.output[0])
        return before is not None and after is not None and before.place == after.place and not after.same_shape

    def weak(self, index: int) -> bool:
        """Whether a node's result might be one of the framework's, or is too plain to tell."""
        names = [name for name in self.graph.nodes[index].output if name]
        return bool(names) and all(
            (name in self.matches and not self.matches[name].strong and self.matches[name].same_shape) for name in names
        )

    def explained(self) -> set[int]:
        """Nodes that are proven, or that something proven was computed from by way of values."""
        found: set[int] = set()
        for index in range(len(self.graph.nodes) - 1, -1, -1):
            if index in found or not self.proven(index):
                continue
            waiting = [index]
            while waiting:
                current = waiting.pop()
                if current in found:
                    continue
                found.add(current)
                waiting.extend(self._sources(current))
        return found

    def _sources(self, index: int) -> list[int]:
        """The nodes whose values went into a node's result.

        Of a sum that equals one of its terms the other term, unless the framework has that too, may be anything.
        """
        node = self.graph.nodes[index]
        if node.op_type in SIZES:
            return []
        match = self.matches.get(node.output[0])
        if match is not None and node.op_type == "Add" and len(node.input) == 2:
            same = [name for name in node.input if name in self.matches and self.matches[name].place == match.place]
            other = [name for name in node.input if name not in self.matches and name in self.graph.producer]
            if same and other:
                return [self.graph.producer[name] for name in same if name in self.graph.producer]
        return list(self.graph.before(index))


def observe(probe: Probe, trace: Trace, pool: Pool, tolerance: float) -> Observation:
    """Look at every tensor of the graph that can be computed."""
    seen = Observation(probe.graph, trace)

    def look(name: str, value: Any) -> None:
        if not is_array(value):
            return
        seen.seen.add(name)
        seen.shapes[name] = value.shape
        if value.dtype.kind not in "iub" and value.size > _FEW and (value != value.reshape(-1)[0]).any():
            seen.computed.add(name)
        match = pool.match(value, tolerance)
        if match is not None:
            seen.matches[name] = match

    traced = sum(value.digest.size * 4 for value in trace.values if value.operator != "weight")
    probe.visit(look, probe.portion(max(traced, 1)))
    seen.refusals = dict(probe.refusals)
    seen.why = probe.why
    return seen


def output_error(expected: dict[str, np.ndarray] | Any, actual: Any) -> float:
    """Largest difference of the outputs, by their own scale; 1 where they cannot be compared."""
    worst = 0.0
    for name, reference in expected.items():
        found = actual.get(name)
        if found is None or found.shape != reference.shape or reference.dtype.kind not in "fiub":
            return 1.0
        if not reference.size:
            continue
        one, other = reference.astype(np.float64), found.astype(np.float64)
        if not (np.isfinite(one).all() and np.isfinite(other).all()):
            if not np.array_equal(np.isfinite(one), np.isfinite(other)):
                return 1.0
            one, other = np.nan_to_num(one), np.nan_to_num(other)
        worst = max(worst, float(np.abs(one - other).max()) / max(float(np.abs(one).max()), 1e-30))
    return min(worst, 1.0)
