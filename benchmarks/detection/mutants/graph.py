"""Looking at an ONNX graph and changing it: what every mutation is made of."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

#: A mutation: changes the model in place and returns the name of the node it touched; None where it does not apply.
Mutation = Callable[["Model", np.random.Generator], str | None]
#: name -> mutation; filled by the modules of this package.
KINDS: dict[str, Mutation] = {}


def kind(name: str) -> Callable[[Mutation], Mutation]:
    """Register a mutation under a name of its own."""

    def register(mutation: Mutation) -> Mutation:
        assert name not in KINDS, name
        KINDS[name] = mutation
        return mutation

    return register


@dataclass(frozen=True)
class Site:
    """A node and the graph that holds it."""

    graph: Any
    node: Any

    @property
    def op(self) -> str:
        """The operator."""
        return str(self.node.op_type)


class Model:
    """A ``ModelProto`` with names for all nodes, and ways to look things up in it.

    Args:
        proto: the model; changed in place.
        feeds: inputs at the traced sizes, for mutations that bake in what is computed there.
    """

    def __init__(self, proto: Any, feeds: Mapping[str, np.ndarray] | None = None) -> None:
        self.proto = proto
        self.feeds = feeds
        self.fresh = 0
        taken = {site.node.name for site in self.sites()}
        count: dict[str, int] = {}
        seen: set[str] = set()
        for site in self.sites():
            node = site.node
            if not node.name or node.name in seen:
                name = ""
                while not name or name in taken:
                    count[node.op_type] = count.get(node.op_type, 0) + 1
                    name = f"{node.op_type}_m{count[node.op_type]}"
                node.name = name
            seen.add(node.name)

    @property
    def opset(self) -> int:
        """Of the default domain."""
        return max(entry.version for entry in self.proto.opset_import if entry.domain in ("", "ai.onnx"))

    def graphs(self) -> Iterator[Any]:
        """The graph and all graphs inside it."""
        yield from _graphs(self.proto.graph)

    def sites(self, *ops: str) -> list[Site]:
        """All nodes, or those of these operators, in order."""
        return [Site(g, n) for g in self.graphs() for n in g.node if not ops or n.op_type in ops]

    def pick(self, rng: np.random.Generator, *ops: str, where: Callable[[Site], Any] | None = None) -> Site | None:
        """One of the nodes of these operators, by chance; None without any."""
        found = [site for site in self.sites(*ops) if where is None or where(site)]
        return found[int(rng.integers(len(found)))] if found else None

    def constant(self, name: str) -> np.ndarray | None:
        """The value of a constant tensor; None where it is computed."""
        import onnx

        tensor = self._constants.get(name)
        return None if tensor is None else onnx.numpy_helper.to_array(tensor)

    @cached_property
    def _constants(self) -> dict[str, Any]:
        """Every constant tensor as it was at first; those that mutations add are not asked for again."""
        found = {tensor.name: tensor for graph in self.graphs() for tensor in graph.initializer}
        nodes = [site.node for site in self.sites("Constant", "Identity")]
        for node in nodes:
            if node.op_type == "Constant" and (value := attribute(node, "value")) is not None:
                found[node.output[0]] = value
        for node in nodes:
            if node.op_type == "Identity" and node.input[0] in found:
                found[node.output[0]] = found[node.input[0]]
        return found

    def weight(self, site: Site, index: int, *, least: int = 1) -> np.ndarray | None:
        """The constant float input ``index`` of a node, a copy; None where it is none or has fewer elements."""
        if len(site.node.input) <= index or not site.node.input[index]:
            return None
        tensor = self._constants.get(site.node.input[index])
        if tensor is None or math.prod(tensor.dims) < least:
            return None
        value = self.constant(site.node.input[index])
        return None if value is None or value.dtype.kind != "f" else value.copy()

    def set_constant(self, site: Site, index: int, value: np.ndarray) -> str:
        """Give a node another constant as input ``index``; other users of the old one keep it."""
        import onnx

        self.fresh += 1
        name = f"mutated_{self.fresh}"
        site.graph.initializer.append(onnx.numpy_helper.from_array(np.array(value, order="C"), name))
        while len(site.node.input) <= index:
            site.node.input.append("")
        site.node.input[index] = name
        return str(site.node.name)

    def insert(self, site: Site, op: str, source: str, **attributes: Any) -> str:
        """Put a node before ``site`` that reads ``source``; returns the name of its output."""
        import onnx

        self.fresh += 1
        output = f"mutated_{self.fresh}"
        extra = attributes.pop("inputs", [])
        node = onnx.helper.make_node(op, [source, *extra], [output], name=f"Mutated_{self.fresh}", **attributes)
        site.graph.node.insert(list(site.graph.node).index(site.node), node)
        return output

    def insert_after(self, site: Site, op: str, **attributes: Any) -> str:
        """Let the first output of a node pass through another one; returns that one's name."""
        import onnx

        self.fresh += 1
        inner, name = f"mutated_{self.fresh}", f"Mutated_{self.fresh}"
        output = site.node.output[0]
        site.node.output[0] = inner
        extra = attributes.pop("inputs", [])
        node = onnx.helper.make_node(op, [inner, *extra], [output], name=name, **attributes)
        site.graph.node.insert(list(site.graph.node).index(site.node) + 1, node)
        return name

    def add_constant(self, site: Site, value: np.ndarray) -> str:
        """A new initializer in the graph of a node; returns its name."""
        import onnx

        self.fresh += 1
        name = f"mutated_{self.fresh}"
        site.graph.initializer.append(onnx.numpy_helper.from_array(np.array(value, order="C"), name))
        return name

    def traced(self, name: str) -> np.ndarray | None:
        """What a tensor of the main graph is at the traced sizes; None where that cannot be told."""
        import onnx
        import onnxruntime

        if self.feeds is None:
            return None
        copy = onnx.ModelProto()
        copy.CopyFrom(self.proto)
        del copy.graph.output[:]
        copy.graph.output.append(onnx.ValueInfoProto(name=name))
        try:
            session = onnxruntime.InferenceSession(copy.SerializeToString(), providers=["CPUExecutionProvider"])
            known = {value.name for value in session.get_inputs()}
            return np.asarray(session.run([name], {n: a for n, a in self.feeds.items() if n in known})[0])
        except Exception:  # a tensor of a type that cannot be an output
            return None

    def users(self, name: str) -> list[Site]:
        """Nodes that read a tensor."""
        return [site for site in self.sites() if name in site.node.input]

    def producer(self, name: str) -> Site | None:
        """The node that makes a tensor."""
        return next((site for site in self.sites() if name in site.node.output), None)

    def is_output(self, name: str) -> bool:
        """Whether a tensor is an output of its graph."""
        return any(value.name == name for graph in self.graphs() for value in graph.output)

    def bypass(self, site: Site, index: int = 0) -> str | None:
        """Drop a node: those that read its output read its input ``index`` instead. Names the first of them."""
        output, source = site.node.output[0], site.node.input[index]
        users = [user for user in self.users(output) if user.graph is site.graph]
        if not users or self.is_output(output) or len(users) != len(self.users(output)):
            return None
        for user in users:
            for position, name in enumerate(user.node.input):
                if name == output:
                    user.node.input[position] = source
        site.graph.node.remove(site.node)
        return str(users[0].node.name)

    def dtype(self, name: str) -> int | None:
        """Element type of a tensor, by shape inference; None where it is not known."""
        return self._inferred.get(name, (None, None))[0]

    def rank(self, name: str) -> int | None:
        """Rank of a tensor, by shape inference; None where it is not known."""
        tensor = self._constants.get(name)
        return len(tensor.dims) if tensor is not None else self._inferred.get(name, (None, None))[1]

    @cached_property
    def _inferred(self) -> dict[str, tuple[int | None, int | None]]:
        """Element type and rank of every tensor that shape inference knows."""
        import onnx

        known: dict[str, tuple[int | None, int | None]] = {}
        for graph in _graphs(onnx.shape_inference.infer_shapes(self.proto).graph):
            for value in [*graph.value_info, *graph.input, *graph.output]:
                if value.type.HasField("tensor_type"):
                    tensor = value.type.tensor_type
                    known[value.name] = tensor.elem_type, len(tensor.shape.dim) if tensor.HasField("shape") else None
        return known

    def is_float(self, name: str) -> bool:
        """Whether a tensor is float32."""
        tensor = self._constants.get(name)
        return (self.dtype(name) if tensor is None else tensor.data_type) == 1


def _graphs(graph: Any) -> Iterator[Any]:
    yield graph
    for node in graph.node:
        for entry in node.attribute:
            if entry.HasField("g"):
                yield from _graphs(entry.g)
            for inner in entry.graphs:
                yield from _graphs(inner)


def attribute(node: Any, name: str, default: Any = None) -> Any:
    """The value of an attribute."""
    import onnx

    for entry in node.attribute:
        if entry.name == name:
            return onnx.helper.get_attribute_value(entry)
    return default


def set_attribute(node: Any, name: str, value: Any) -> str:
    """Set an attribute, or remove it with None; returns the node's name."""
    import onnx

    kept = [entry for entry in node.attribute if entry.name != name]
    del node.attribute[:]
    node.attribute.extend(kept)
    if value is not None:
        node.attribute.append(onnx.helper.make_attribute(name, value))
    return str(node.name)


def neighbours(proto: Any, name: str) -> set[str]:
    """A node's name and those of the nodes it shares a tensor with, the node around its subgraph included."""
    found = {name}
    for graph in _graphs(proto.graph):
        node = next((node for node in graph.node if node.name == name), None)
        if node is None:
            found |= {outer.name for outer in graph.node if any(name in names for names in _inner_names(outer))}
            continue
        reads, writes = set(filter(None, node.input)), set(filter(None, node.output))
        found |= {n.name for n in graph.node if reads & set(n.output) or writes & set(n.input)}
    return found


def _inner_names(node: Any) -> Iterator[set[str]]:
    for entry in node.attribute:
        if entry.HasField("g"):
            yield {inner.name for graph in _graphs(entry.g) for inner in graph.node}
