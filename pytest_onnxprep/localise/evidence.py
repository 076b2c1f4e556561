"""What the framework and the exporter say of a node: its layer, its source line, and the value it should have."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from pytest_onnxprep.localise.graph import Graph
from pytest_onnxprep.localise.layers import noted_layer
from pytest_onnxprep.localise.match import sample_error
from pytest_onnxprep.localise.observe import Observation
from pytest_onnxprep.sources.trace import Trace, Traced, digest

_CANDIDATES = 8


@dataclass(frozen=True)
class Origin:
    """Where a node came from.

    Attributes:
        layer: ``encoder.norm (LayerNorm)``.
        line: ``model.py:41  x = self.norm(x)``.
        place: position of the framework's value that the node should have made, or None.
    """

    layer: str = ""
    line: str = ""
    place: int | None = None


@dataclass
class Missing:
    """The framework's values that no ONNX tensor equals.

    Args:
        trace: the framework's values.
        covered: positions of those that one does.
    """

    trace: Trace
    covered: set[int]
    _after: dict[int, list[int]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Index who reads what."""
        for place, value in enumerate(self.trace.values):
            for source in value.inputs:
                self._after.setdefault(source, []).append(place)

    def beyond(self, known: Iterable[int]) -> list[int]:
        """The missing values closest behind some known ones, in the order they were computed."""
        found: set[int] = set()
        seen: set[int] = set()
        waiting = list(known)
        while waiting:
            for place in self._after.get(waiting.pop(), ()):
                if place in seen:
                    continue
                seen.add(place)
                if place in self.covered:
                    waiting.append(place)
                elif self.trace.values[place].digest.size:
                    found.add(place)
        return sorted(found)


def origin(seen: Observation, missing: Missing, index: int, actual: np.ndarray | None = None) -> Origin:
    """The layer and line of a node, from the exporter's metadata, the framework's trace and the node's name.

    Args:
        seen: what is known of every tensor.
        missing: the framework's values without a counterpart.
        index: the node.
        actual: what it wrote: of several values it may stand for, the nearest is taken.
    """
    graph, values = seen.graph, missing.trace.values
    shapes = [seen.shapes[name] for name in graph.nodes[index].output if name in seen.shapes]
    behind = missing.beyond(_places(seen, missing, index))
    layer, line = metadata(graph, index)
    path = layer or _path_in_name(graph, index, missing.trace)
    mine = [place for place in behind if path and values[place].layer == path] or behind
    alike = [place for place in mine if values[place].digest.shape in shapes]
    sized = [place for place in mine if any(values[place].digest.size == _size(shape) for shape in shapes)]
    place = _nearest((alike or sized)[:_CANDIDATES], values, actual) if alike or sized else next(iter(mine), None)
    said = values[place] if place is not None else None
    if path and (said is None or said.layer != path):
        said = next((value for value in values if value.layer == path and value.line), said)
    if said is None:
        said = _neighbour(seen, missing, index)
    kind = next((value.layer_kind for value in values if value.layer == path and value.layer_kind), "") if path else ""
    where = (f"{path} ({kind})" if kind else path) if path else (said.where if said is not None else "")
    return Origin(where, line or (said.line if said is not None else ""), place)


def _nearest(places: list[int], values: tuple[Traced, ...], actual: np.ndarray | None) -> int:
    """The value most like the actual one; the first where that cannot be told."""
    made = digest(actual) if actual is not None else None
    if made is None:
        return places[0]
    return min(places, key=lambda place: sample_error(values[place].digest.sample, made.sample, made.scale))


def metadata(graph: Graph, index: int) -> tuple[str, str]:
    """Layer path and source line as torch's exporter writes them onto a node."""
    noted = noted_layer(graph.nodes[index])
    return noted.path, noted.line


def layer_of(seen: Observation, index: int) -> str:
    """The layer that the exporter's metadata or a node's name tells."""
    return metadata(seen.graph, index)[0] or _path_in_name(seen.graph, index, seen.trace)


def _places(seen: Observation, missing: Missing, index: int) -> list[int]:
    """The framework's counterparts of what a node reads; of what those were made from where there are none."""
    graph = seen.graph
    found: list[int] = []
    for name in graph.reads[index]:
        if name in seen.matches:
            found.append(seen.matches[name].place)
        elif name in graph.inputs:
            found += [place for place, value in enumerate(missing.trace.values) if value.name == name]
        elif name in graph.producer:
            for before in graph.ancestors([graph.producer[name]]):
                found += [seen.matches[out].place for out in graph.nodes[before].output if out in seen.matches]
    return found


def _neighbour(seen: Observation, missing: Missing, index: int) -> Traced | None:
    """The framework value nearest to a node: of what it reads, or of what reads it."""
    graph = seen.graph
    for near in (*graph.before(index), *graph.after(index)):
        for name in graph.nodes[near].output:
            if name in seen.matches:
                return missing.trace.values[seen.matches[name].place]
    return None


def _path_in_name(graph: Graph, index: int, trace: Trace) -> str:
    """The layer in names such as ``/model/blocks/blocks.0/norm1/Add`` or ``net/dense_1/MatMul``."""
    layers = {value.layer for value in trace.values if value.layer}
    parts = [part for part in graph.nodes[index].name.split("/")[:-1] if part]
    if parts[:1] == ["model"]:
        path = ""
        for part in parts[1:]:
            if path and part.startswith(f"{path.rpartition('.')[2]}."):
                path = f"{path.rpartition('.')[0]}.{part}".removeprefix(".")
            else:
                path = f"{path}.{part}".removeprefix(".")
        return path if path in layers else ""
    trimmed = [re.sub(r"_\d+$", "", part) for part in parts]
    for depth in range(len(parts), 0, -1):
        for names in (parts, trimmed):
            path = "/".join(names[:depth])
            if path in layers:
                return path
    return ""


def _size(shape: tuple[int, ...]) -> int:
    size = 1
    for dim in shape:
        size *= dim
    return size
