"""Objects of the frameworks that say nothing of themselves to pickle, and are fully told by a name or a text.

They are what options hold: the keys of a translation table, ONNX schemas, onnxscript functions and opsets.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def known(value: Any) -> bytes | None:
    """What such an object comes to, or None for every other one."""
    for cls in type(value).__mro__[:-1]:
        place = f"{cls.__module__}.{cls.__qualname__}"
        if place in _KNOWN:
            return f"{place}\0".encode() + _KNOWN[place](value)
    return None


def _named(value: Any) -> bytes:
    return str(value).encode()


def _written(value: Any) -> bytes:
    return bytes(value.to_function_proto().SerializeToString(deterministic=True))


def _message(value: Any) -> bytes:
    return bytes(value.SerializeToString(deterministic=True))


def _opset(value: Any) -> bytes:
    return f"{value.domain}\0{value.version}".encode()


def _operator(value: Any) -> bytes:
    return f"{value.opset.domain}\0{value.opset.version}\0{value.name}\0{value.op_schema!r}".encode()


_KNOWN: dict[str, Callable[[Any], bytes]] = {
    "torch._ops.OpOverload": _named,  # aten.linalg_svdvals.default
    "torch._ops.OpOverloadPacket": _named,
    "onnx.onnx_cpp2py_export.defs.OpSchema": lambda value: repr(value).encode(),
    "onnx.onnx_ml_pb2.FunctionProto": _message,
    "onnxscript._internal.values.OnnxFunction": _written,
    "onnxscript._internal.values.Opset": _opset,
    "onnxscript._internal.values.Op": _operator,
}
