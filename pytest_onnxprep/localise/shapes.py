"""Follows a wrong shape back to the node that computed the wrong number."""

from __future__ import annotations

import re
from collections.abc import Iterator

import numpy as np

from pytest_onnxprep.localise.graph import Graph
from pytest_onnxprep.localise.match import sample_error
from pytest_onnxprep.localise.observe import Observation
from pytest_onnxprep.localise.probe import Probe
from pytest_onnxprep.sources.trace import digest

#: Operators that pass a number of a shape on as it is.
_PASSING = frozenset({"Unsqueeze", "Squeeze", "Cast", "Identity", "Reshape"})
_SHAPE = re.compile(r"\{(\d+(?:,\d+)*)\}")
_SAME = 1e-4
_SHAPED = {"Reshape": 1, "Expand": 1, "ConstantOfShape": 0, "Tile": 1, "Slice": 1, "Resize": 3, "Range": 1, "Pad": 1}


def shape_culprit(seen: Observation, probe: Probe, index: int) -> tuple[int, str]:
    """The node to name where ``index`` got a wrong shape, and what is wrong with it.

    Args:
        seen: what is known of every tensor.
        probe: fetches values.
        index: a suspect that reads a computed shape.
    """
    refusal = probe.refusals.get(index, "")
    told = _of_refusal(seen, index, refusal) if refusal else None
    if told is not None:
        maker, right = told
        index = maker
    else:
        right = None
    node = seen.graph.nodes[index]
    slot = _SHAPED.get(node.op_type)
    if slot is None or slot >= len(node.input) or not node.input[slot]:
        return index, ""
    wanted = probe.fetch([node.input[slot], *([node.input[0]] if slot else [])])
    shape = wanted.get(node.input[slot])
    if shape is None:
        shape = seen.graph.known(node.input[slot])
    data = wanted.get(node.input[0], probe.feeds.get(node.input[0]))
    if shape is None or shape.ndim != 1:
        return index, ""
    if right is None and data is not None and node.op_type in ("Reshape", "Expand"):
        right = _right_shape(seen, data, shape, node.op_type, bool(refusal))
    producer = seen.graph.producer.get(node.input[slot])
    computed = producer is not None and seen.graph.nodes[producer].op_type != "Constant"
    if right is None:
        return (producer if computed and refusal and producer is not None else index), ""
    hint = f"asks for shape {shape.tolist()} where the framework has {list(right)}"
    if producer is None or not computed:
        return index, hint
    return _behind(seen.graph, index, producer, shape, right), hint


def _of_refusal(seen: Observation, index: int, text: str) -> tuple[int, tuple[int, ...]] | None:
    """The node that made an input of the wrong shape, and the right one, where the words of a refusal tell."""
    shapes = [tuple(map(int, found.split(","))) for found in _SHAPE.findall(text)]
    graph = seen.graph
    if graph.nodes[index].op_type in _SHAPED or len(shapes) < 2:
        return None
    for name in graph.nodes[index].input:
        maker = graph.producer.get(name)
        while maker is not None and graph.nodes[maker].op_type in ("Slice", "Identity", "Cast"):
            maker = graph.producer.get(graph.nodes[maker].input[0])
        if maker is None or graph.nodes[maker].op_type not in ("Expand", "ConstantOfShape", "Tile"):
            continue
        others = [shape for shape in shapes if shape != seen.shapes.get(name)]
        if seen.shapes.get(name) in shapes and others and len(others[0]) == len(seen.shapes[name]):
            return maker, others[0]
    return None


def _right_shape(
    seen: Observation, data: np.ndarray, shape: np.ndarray, operator: str, refused: bool
) -> tuple[int, ...] | None:
    """The framework's shape of the same elements that is most like the one asked for; None where it is right."""
    made = digest(data)
    if made is None:
        return None
    asked = shape.tolist()
    shapes: dict[tuple[int, ...], None] = {}
    for value in seen.trace.values:
        other = value.digest
        if len(other.shape) != len(asked):
            continue
        same = other.size == data.size and sample_error(other.sample, made.sample, made.scale) <= _SAME
        if same or (operator == "Expand" and value.operator == "expand"):
            shapes[other.shape] = None
    if any(_allows(shape, found) for found in shapes):
        return None
    found = shapes or (dict.fromkeys(_one_off(seen, data.size, asked)) if refused else {})
    return max(found, key=lambda one: sum(int(a == b) for a, b in zip(one, asked, strict=True)), default=None)


def _one_off(seen: Observation, size: int, asked: list[int]) -> Iterator[tuple[int, ...]]:
    """Shapes in the framework of as many elements that differ from the one asked for in one number."""
    for value in seen.trace.values:
        shape = value.digest.shape
        if value.digest.size != size or len(shape) != len(asked):
            continue
        if sum(a not in (-1, 0, b) for a, b in zip(asked, shape, strict=True)) == 1:
            yield shape


def _allows(shape: np.ndarray, found: tuple[int, ...]) -> bool:
    return all(asked in (-1, 0, size) for asked, size in zip(shape.tolist(), found, strict=True))


def _behind(graph: Graph, asker: int, producer: int, shape: np.ndarray, right: tuple[int, ...]) -> int:
    """The node that computed the number that differs; the asker itself where several do: its input lies otherwise."""
    if len(shape) != len(right):
        return producer
    wrong = [axis for axis, (a, b) in enumerate(zip(shape.tolist(), right, strict=True)) if a not in (-1, 0, b)]
    if len(wrong) > 1:
        return asker
    node = graph.nodes[producer]
    if node.op_type != "Concat" or not wrong or len(node.input) != len(shape):
        return producer
    name = node.input[wrong[0]]
    current = producer
    while name in graph.producer and graph.nodes[graph.producer[name]].op_type != "Constant":
        current = graph.producer[name]
        if graph.nodes[current].op_type not in _PASSING:
            break
        name = graph.nodes[current].input[0]
    return current
