"""An ONNX graph with the questions a search asks of it, and models cut out of it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property
from typing import Any

import numpy as np

#: Their result tells of an input's size only, never of its values.
SIZES = frozenset({"Shape", "Size"})
Arrays = Mapping[str, np.ndarray]


class Graph:
    """The top level of a model; bodies of Loop, If and Scan belong to the node that holds them.

    Args:
        proto: the ``ModelProto``, external data left where it lies.
        custom_ops: libraries of custom operators that its sessions need.
    """

    def __init__(self, proto: Any, custom_ops: tuple[str, ...] = ()) -> None:
        self.proto = proto
        self.custom_ops = custom_ops
        self.nodes = list(proto.graph.node)
        self.initializers = {tensor.name: tensor for tensor in proto.graph.initializer}
        self.inputs = {value.name: value for value in proto.graph.input if value.name not in self.initializers}
        self.outputs = [value.name for value in proto.graph.output]
        self.producer = {name: index for index, node in enumerate(self.nodes) for name in node.output if name}

    @cached_property
    def reads(self) -> list[tuple[str, ...]]:
        """What each node reads, names captured by its bodies included."""
        return [tuple(dict.fromkeys(name for name in _reads(node) if name)) for node in self.nodes]

    @cached_property
    def consumers(self) -> dict[str, list[int]]:
        """Tensor -> the nodes that read it."""
        found: dict[str, list[int]] = {}
        for index, names in enumerate(self.reads):
            for name in names:
                found.setdefault(name, []).append(index)
        return found

    @cached_property
    def constant(self) -> set[int]:
        """Nodes whose result no input of the graph can change."""
        found: set[int] = set()
        for index, names in enumerate(self.reads):
            if all(name in self.initializers or self.producer.get(name) in found for name in names):
                found.add(index)
        return found

    @cached_property
    def sizing(self) -> set[int]:
        """Nodes that compute with sizes and constants only."""
        found: set[int] = set()
        for index, (node, names) in enumerate(zip(self.nodes, self.reads, strict=True)):
            known = (n in self.initializers or self.producer.get(n) in found | self.constant for n in names)
            if node.op_type in SIZES or (index not in self.constant and names and all(known)):
                found.add(index)
        return found

    def known(self, name: str) -> np.ndarray | None:
        """The value of an initializer or of a Constant that the file itself holds."""
        import onnx

        if name in self.initializers and not self.initializers[name].external_data:
            return np.asarray(onnx.numpy_helper.to_array(self.initializers[name]))
        index = self.producer.get(name)
        if index is not None and self.nodes[index].op_type == "Constant":
            for attribute in self.nodes[index].attribute:
                if attribute.name == "value":
                    return np.asarray(onnx.numpy_helper.to_array(attribute.t))
        return None

    def before(self, index: int) -> Iterator[int]:
        """The nodes whose results a node reads."""
        for name in self.reads[index]:
            if name in self.producer:
                yield self.producer[name]

    def after(self, index: int) -> Iterator[int]:
        """The nodes that read a node's results."""
        for name in self.nodes[index].output:
            yield from self.consumers.get(name, ())

    def ancestors(self, start: Iterable[int], stop: Iterable[int] = ()) -> set[int]:
        """The nodes that ``start`` is computed from, itself included, not going beyond ``stop``."""
        return _reach(start, self.before, set(stop))

    def descendants(self, start: Iterable[int]) -> set[int]:
        """The nodes computed from ``start``, itself included."""
        return _reach(start, self.after, set())

    def index_of(self, name: str) -> int | None:
        """A node by its name."""
        return next((index for index, node in enumerate(self.nodes) if name and node.name == name), None)

    def label(self, index: int) -> str:
        """A node's name; what it writes where it has none."""
        node = self.nodes[index]
        return str(node.name or next((name for name in node.output if name), node.op_type))

    def cut(
        self, nodes: Iterable[int], inputs: Arrays, outputs: Iterable[str], *, replaced: Arrays | None = None
    ) -> Any:
        """A model of some of the nodes, which keep their order.

        Args:
            nodes: which.
            inputs: tensors fed from outside, with an example of each (for dtype and rank).
            outputs: tensors to return.
            replaced: initializers to be given other values.
        """
        import onnx

        chosen = sorted(set(nodes))
        model = onnx.ModelProto(ir_version=self.proto.ir_version, producer_name="pytest-onnxprep")
        model.opset_import.extend(self.proto.opset_import)
        model.functions.extend(self.proto.functions)
        model.graph.name = "part"
        model.graph.node.extend(self.nodes[index] for index in chosen)
        read = {name for index in chosen for name in self.reads[index]} | set(outputs)
        for name in sorted(read & set(self.initializers) - set(inputs)):
            if replaced and name in replaced:
                model.graph.initializer.append(onnx.numpy_helper.from_array(replaced[name], name))
            else:
                model.graph.initializer.append(self.initializers[name])
        for name, array in inputs.items():
            if name in self.inputs:
                model.graph.input.append(self.inputs[name])
            elif name in read:
                model.graph.input.append(_typed(name, array))
        model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in outputs)
        return model


def _typed(name: str, array: np.ndarray) -> Any:
    import onnx

    kind = onnx.TensorProto.STRING if array.dtype.kind in "OSU" else onnx.helper.np_dtype_to_tensor_dtype(array.dtype)
    return onnx.helper.make_tensor_value_info(name, kind, [f"{name}_{axis}" for axis in range(array.ndim)])


def _reads(node: Any) -> Iterator[str]:
    yield from node.input
    for attribute in node.attribute:
        for body in (attribute.g, *attribute.graphs):
            own = {value.name for value in (*body.input, *body.initializer)}
            own |= {name for inner in body.node for name in inner.output}
            for name in (*(n for inner in body.node for n in _reads(inner)), *(value.name for value in body.output)):
                if name not in own:
                    yield name


def _reach(start: Iterable[int], step: Any, stop: set[int]) -> set[int]:
    found, waiting = set(), list(start)
    while waiting:
        index = waiting.pop()
        if index in found:
            continue
        found.add(index)
        if index not in stop:
            waiting.extend(step(index))
    return found
