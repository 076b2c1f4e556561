"""ONNX Runtime has no kernel for an operator at the type it is given: say which type that is."""

from __future__ import annotations

import re
from typing import Any

_MISSING = re.compile(r"Could not find an implementation for (\S+?)\((\d+)\) node with name '(.*?)'")


def missing_kernel(error: Exception, proto: Any) -> tuple[str, str] | None:
    """A summary and the whole story of a missing kernel; None for any other error.

    Args:
        error: what ONNX Runtime raised while it loaded the file.
        proto: the file, without its external data.
    """
    import onnxruntime

    found = _MISSING.search(str(error))
    if found is None:
        return None
    operator, opset, name = found.groups()
    types = _types_read(proto, operator, name)
    of = f" of {', '.join(types)}" if types else ""
    where = f" (node {name!r})" if name else ""
    summary = f"ONNX Runtime has no kernel for {operator}{of}{where}"
    return summary, (
        f"{summary}.\nThe file is valid ONNX: it is this build of ONNX Runtime, {onnxruntime.__version__}, that does "
        f"not implement {operator} (opset {opset}) for these types on the provider asked for. Export the model in a "
        "type it has (model.float() in the factory), cast around this part, or run on another provider "
        f"(--onnxprep-provider).\n\nONNX Runtime: {error}"
    )


def _types_read(proto: Any, operator: str, name: str) -> list[str]:
    """The types that the node reads, as far as the file says."""
    import onnx

    values = (*proto.graph.input, *proto.graph.value_info, *proto.graph.output)
    known = {value.name: value.type.tensor_type.elem_type for value in values}
    known |= {tensor.name: tensor.data_type for tensor in proto.graph.initializer}
    node = next((node for node in proto.graph.node if node.op_type == operator and node.name == name), None)
    if node is None:
        return []
    numbers = dict.fromkeys(known[read] for read in node.input if known.get(read))
    return [onnx.TensorProto.DataType.Name(number).lower() for number in numbers]
