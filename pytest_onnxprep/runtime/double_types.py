"""Every float of an ONNX graph made a double."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

#: Attributes that hold a tensor's type.
_TYPES = ("to", "dtype", "output_dtype", "output_datatype", "softmax_precision")
#: Operators whose output is float32 where the attribute is not there.
_FLOAT_OUTPUT = {
    "BlackmanWindow": "output_datatype",
    "HammingWindow": "output_datatype",
    "HannWindow": "output_datatype",
    "MelWeightMatrix": "output_datatype",
    "RandomNormal": "dtype",
    "RandomUniform": "dtype",
    "SequenceEmpty": "dtype",
}


def widened(array: np.ndarray) -> np.ndarray:
    """Floats as float64, anything else as it is."""
    return array.astype(np.float64) if array.dtype.kind == "f" or array.dtype.name == "bfloat16" else array


def take_weights(graph: Any) -> dict[str, np.ndarray]:
    """Take a ``GraphProto``'s initializers and constants out of it, widened."""
    import onnx

    arrays = {tensor.name: widened(onnx.numpy_helper.to_array(tensor)) for tensor in graph.initializer}
    del graph.initializer[:]
    others = []
    for node in graph.node:
        if node.op_type == "Constant" and node.domain in ("", "ai.onnx") and node.attribute[0].name == "value":
            arrays[node.output[0]] = widened(onnx.numpy_helper.to_array(node.attribute[0].t))
        else:
            others.append(node)
    if len(others) < len(graph.node):
        del graph.node[:]
        graph.node.extend(others)
    return arrays


def put_weights(graph: Any, arrays: dict[str, np.ndarray]) -> None:
    """Put them back, all as initializers."""
    import onnx

    graph.initializer.extend(onnx.numpy_helper.from_array(array, name) for name, array in arrays.items())


def widen_graph(graph: Any) -> None:
    """Make every float of a ``GraphProto`` a double, in place: weights, constants, casts and declarations."""
    for tensor in graph.initializer:
        _widen_tensor(tensor)
    for value in (*graph.input, *graph.output, *graph.value_info):
        _widen_type(value.type)
    widen_nodes(graph.node)


def widen_nodes(nodes: Iterable[Any]) -> None:
    """Likewise for nodes, and the graphs inside them."""
    import onnx

    for node in nodes:
        for attribute in node.attribute:
            if attribute.HasField("t"):
                _widen_tensor(attribute.t)
            elif attribute.HasField("g"):
                widen_graph(attribute.g)
            elif attribute.HasField("tp"):
                _widen_type(attribute.tp)
            elif attribute.name in _TYPES and not attribute.ref_attr_name:
                attribute.i = _double(attribute.i)
            elif attribute.name in ("value_float", "value_floats") and node.op_type == "Constant":
                if attribute.ref_attr_name:
                    continue
                values = np.array(attribute.f if attribute.name == "value_float" else list(attribute.floats))
                attribute.CopyFrom(onnx.helper.make_attribute("value", onnx.numpy_helper.from_array(values)))
        if node.op_type == "ConstantOfShape" and not node.attribute:  # float32 zeros
            zero = onnx.numpy_helper.from_array(np.zeros(1))
            node.attribute.append(onnx.helper.make_attribute("value", zero))
        kind = _FLOAT_OUTPUT.get(node.op_type)
        if kind is not None and all(attribute.name != kind for attribute in node.attribute):
            node.attribute.append(onnx.helper.make_attribute(kind, int(onnx.TensorProto.DOUBLE)))


def _widen_tensor(tensor: Any) -> None:
    import onnx

    if _double(tensor.data_type) != tensor.data_type:
        wide = onnx.numpy_helper.to_array(tensor).astype(np.float64)
        tensor.CopyFrom(onnx.numpy_helper.from_array(wide, tensor.name))


def _widen_type(kind: Any) -> None:
    if kind.HasField("tensor_type"):
        kind.tensor_type.elem_type = _double(kind.tensor_type.elem_type)
    elif kind.HasField("sequence_type"):
        _widen_type(kind.sequence_type.elem_type)
    elif kind.HasField("optional_type"):
        _widen_type(kind.optional_type.elem_type)


def _double(kind: int) -> int:
    import onnx

    narrow = (onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16, onnx.TensorProto.BFLOAT16)
    return int(onnx.TensorProto.DOUBLE) if kind in narrow else int(kind)
