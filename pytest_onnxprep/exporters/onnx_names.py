"""Give the inputs and outputs of a graph other names, whatever its inner values are called."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any


def rename_ends(graph: Any, inputs: Mapping[str, str], outputs: list[tuple[str, str]]) -> None:
    """Rename and order the ends of a graph, in place.

    Args:
        graph: a ``GraphProto``.
        inputs: name in the graph -> name it shall have, in the order wanted; ones the graph lacks are left out.
        outputs: likewise as pairs; a value may be several outputs.
    """
    values = {value.name: value for value in [*graph.input, *graph.output]}
    inputs = {found: name for found, name in inputs.items() if found in {value.name for value in graph.input}}
    outputs = [(found, name) for found, name in outputs if found in values]
    renames = dict(inputs)
    copies: list[tuple[str, str]] = []
    for found, name in outputs:
        if found in renames and renames[found] != name:
            copies.append((found, name))  # an input handed through, or one value under two names
        else:
            renames[found] = name
    wanted = {*renames.values(), *(name for _, name in copies)}
    for taken in sorted(_names(graph) & wanted - renames.keys()):
        renames[taken] = _unused(f"{taken}_inner", _names(graph) | wanted)
    kept = {found: _copy(values[found]) for found in values}
    rename(graph, {found: name for found, name in renames.items() if found != name})
    for found, name in copies:
        graph.node.add(op_type="Identity", input=[renames.get(found, found)], output=[name], name=f"output_{name}")
    for ends, pairs in ((graph.input, list(inputs.items())), (graph.output, outputs)):
        named = [_copy(kept[found], name) for found, name in pairs]
        # What an exporter made an input besides the declared ones is for the contract to tell.
        rest = [_copy(v) for v in graph.input if v.name not in inputs.values()] if ends is graph.input else []
        del ends[:]
        ends.extend([*named, *rest])


def rename(graph: Any, renames: Mapping[str, str]) -> None:
    """Rename values wherever a graph and the graphs inside it speak of them."""
    for node in graph.node:
        for names in (node.input, node.output):
            for index, name in enumerate(names):
                names[index] = renames.get(name, name)
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs) if attribute.HasField("g") else attribute.graphs:
                rename(inner, renames)
    for value in (*graph.initializer, *graph.value_info, *graph.input, *graph.output):
        value.name = renames.get(value.name, value.name)


def _names(graph: Any) -> set[str]:
    return set(_walk(graph))


def _walk(graph: Any) -> Iterator[str]:
    yield from (value.name for value in (*graph.initializer, *graph.input))
    for node in graph.node:
        yield from node.output
        for attribute in node.attribute:
            if attribute.HasField("g"):
                yield from _walk(attribute.g)


def _unused(name: str, taken: set[str]) -> str:
    while name in taken:
        name += "_"
    return name


def _copy(value: Any, name: str = "") -> Any:
    copy = type(value)()
    copy.CopyFrom(value)
    if name:
        copy.name = name
    return copy
