"""Nodes of ONNX Runtime's optimised graph led back to nodes of the file, and so to layers of the model."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pytest_onnxprep.artifacts.onnx_model import all_nodes, bodies
from pytest_onnxprep.localise.graph import Graph
from pytest_onnxprep.localise.layers import Layer, layer_of_node

#: What ONNX Runtime appends to the name of a tensor for the node that makes it in another layout.
_RENAMED = ("_nchwc", "_nhwc")
_ACTIVATIONS = frozenset({"Relu", "Clip", "LeakyRelu", "Sigmoid", "Tanh", "HardSigmoid"})


@dataclass(frozen=True)
class Traced:
    """Where a node of the optimised graph comes from.

    Args:
        origins: names of the file's nodes it stands for; empty where ONNX Runtime added it, or nothing tells.
        layer: their layer; the part their layers share where they have several, ``blocks.0 (conv, act)``.
        line: source line of the last of them.
        how: ``name`` (the node of that name), ``tensor`` (it writes, or is named after, a tensor of the file),
            ``between`` (all nodes between its inputs and outputs that no other node stands for), ``layout`` (it only
            rearranges the result of these), or "".
        layer_from: ``file`` (the exporter's notes, or the node's name), ``value`` (what it computes equals what that
            layer computes), or "".
    """

    origins: tuple[str, ...] = ()
    layer: str = ""
    line: str = ""
    how: str = ""
    layer_from: str = ""


class Origins:
    """Leads nodes back.

    Args:
        original: the file's ``ModelProto``.
        optimised: the one ONNX Runtime runs; None where only names can tell.
        by_value: label of a node of the file -> its layer, for those of which the file says nothing.
    """

    def __init__(self, original: Any, optimised: Any, by_value: Mapping[str, Layer] | None = None) -> None:
        self.by_value = by_value or {}
        self.file = Graph(original)
        self.by_name = {node.name: node for node in all_nodes(original) if node.name}
        self.run = Graph(optimised) if optimised is not None else None
        graph = self.run or self.file
        self.holders = {inner.name: node.name for node in graph.nodes for inner in bodies(node) if inner.name}
        self.claimed: set[int] = set()
        if self.run is not None:
            self.claimed = {found for node in self.run.nodes if (found := self._exact(node)[0]) is not None}

    def trace(self, name: str) -> Traced:
        """Lead a node back by its name in the optimised graph, and by what it reads and writes there."""
        index = self.run.index_of(name) if self.run is not None else None
        if index is not None:
            return self._of_node(index)
        # A node within a body, or of a provider that does not show its graph. Fusions append to the name.
        stem = name.rstrip("/")
        while stem and stem not in self.by_name:
            stem = stem.rpartition("/")[0]
        found = self._traced([self.by_name[stem]], "name") if stem else Traced()
        if found.layer or found.line or name not in self.holders:
            return found
        holder = self.trace(self.holders[name])  # what a body does is done for whom it belongs to
        return replace(found, layer=holder.layer, line=holder.line, layer_from=holder.layer_from)

    def _traced(self, nodes: Sequence[Any], how: str, main: Any = None) -> Traced:
        layers = [layer_of_node(node) for node in nodes]
        own = layer_of_node(main) if main is not None else None
        source = "file" if any(layer.path or layer.line for layer in layers) else ""
        if not source and self.by_value:
            layers = [self.by_value.get(_label(node), Layer()) for node in nodes]
            own = self.by_value.get(_label(main)) if main is not None else None
            source = "value" if any(layer.path or layer.line for layer in layers) else ""
        line = next((layer.line for layer in [own, *reversed(layers)] if layer is not None and layer.line), "")
        return Traced(tuple(map(_label, nodes)), _shared(layers, own), line, how, source)

    def _of_node(self, index: int) -> Traced:
        assert self.run is not None
        node = self.run.nodes[index]
        if node.op_type.startswith("Reorder"):  # of a layout; it belongs to what it hands on
            handed = sorted(self._producers(self._anchors([index], "before") or self._anchors([index], "after")))
            return self._traced([self.file.nodes[one] for one in handed], "layout") if handed else Traced()
        exact, how = self._exact(node)
        between = sorted(self._between(index))
        if exact is not None:
            # What was folded into it belongs to it: the Relu of a FusedConv, the scale of a BatchNormalization.
            chosen = [self.file.nodes[one] for one in sorted({exact, *(i for i in between if i not in self.claimed)})]
            # The Conv of a FusedConv does the work, not the Relu whose tensor it writes.
            same = (one for one in chosen if one.op_type in node.op_type)
            return self._traced(chosen, how, main=next(same, self.file.nodes[exact]))
        free = [one for one in between if one not in self.claimed] or between
        return self._traced([self.file.nodes[one] for one in free], "between") if free else Traced()

    def _exact(self, node: Any) -> tuple[int | None, str]:
        """The one node of the file that a node keeps the name of, or the result of."""
        index = self.file.index_of(node.name)
        if index is not None:
            return index, "name"
        written = self._producers(self._writes(node))
        return (max(written), "tensor") if written else (None, "")

    def _writes(self, node: Any) -> set[str]:
        """The tensors of the file that a node makes; one that only changes the layout makes nothing."""
        if node.op_type.startswith("Reorder"):
            return set()
        stems = {self._absorbed(node, node.name.partition(ending)[0]) for ending in _RENAMED if ending in node.name}
        return {name for name in (*node.output, *stems) if name in self.file.producer}

    def _absorbed(self, node: Any, name: str) -> str:
        """What a node in the blocked layout makes: it took over an addition and an activation, and kept its name."""
        if len(node.input) > 3 and node.input[3]:
            name = self._next(name, {"Add", "Sum"})
        if any(attribute.name == "activation" for attribute in node.attribute):
            index = self.file.producer.get(name)
            if index is not None and self.file.nodes[index].op_type not in _ACTIVATIONS:
                name = self._next(name, _ACTIVATIONS)
        return name

    def _next(self, name: str, operators: Collection[str]) -> str:
        """The result of the only reader of a tensor that is such an operator; the tensor itself where there is none."""
        readers = [self.file.nodes[one] for one in self.file.consumers.get(name, ())]
        found = [reader for reader in readers if reader.op_type in operators]
        return str(found[0].output[0]) if len(found) == 1 else name

    def _producers(self, names: Iterable[str]) -> set[int]:
        return {self.file.producer[name] for name in names if name in self.file.producer}

    def _between(self, index: int) -> set[int]:
        """The nodes of the file between what a node reads and what it writes."""
        ends = self._producers(self._anchors([index], "after"))
        read = self._anchors([index], "before")
        stop = self._producers(read)
        if not ends:
            return set()
        # Up to what it reads, and down from there: a side branch that joins in between is not its work.
        inputs = {reader for name in read if name in self.file.inputs for reader in self.file.consumers.get(name, ())}
        below = self.file.descendants(stop | inputs)
        return (self.file.ancestors(ends, stop) & below) - stop - self.file.constant

    def _anchors(self, start: Sequence[int], direction: str) -> set[str]:
        """The nearest tensors, on the way up or down the optimised graph, that the file has too."""
        assert self.run is not None
        found: set[str] = set()
        seen: set[int] = set()
        waiting = list(start)
        while waiting:
            index = waiting.pop()
            if index in seen:
                continue
            seen.add(index)
            node = self.run.nodes[index]
            known = self._writes(node)
            if direction == "after":
                known |= {name for name in node.output if name in self.file.producer}
                waiting += [] if known else list(self.run.after(index))
                found |= known
            elif known and index not in start:
                found |= known
            else:
                found |= {name for name in self.run.reads[index] if name in self.file.inputs}
                for name in self.run.reads[index]:
                    if name in self.file.producer:
                        found.add(name)
                    elif name in self.run.producer:
                        waiting.append(self.run.producer[name])
        return found


def _label(node: Any) -> str:
    return str(node.name or next((name for name in node.output if name), node.op_type))


def _shared(layers: Sequence[Layer], own: Layer | None) -> str:
    """One layer, or the part that several share with what tells them apart."""
    if own is not None and own.path:
        return own.path
    paths = list(dict.fromkeys(layer.path for layer in layers if layer.path))
    if len(paths) < 2:
        return paths[0] if paths else ""
    sign = "/" if any("/" in path for path in paths) else "."
    split = [path.split(sign) for path in paths]
    columns = zip(*split, strict=False)  # up to the shortest
    common = [column[0] for column in itertools.takewhile(lambda column: len(set(column)) == 1, columns)]
    rest = [sign.join(path[len(common) :]) for path in split]
    told = ", ".join(one for one in rest[:3] if one) + (", ..." if len(rest) > 3 else "")
    return f"{sign.join(common)} ({told})" if common else told
