"""What tf2onnx 1.17 does not take of TensorFlow: operators, as handlers of its own kind, and functions for XLA."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

import numpy as np

from pytest_onnxprep.exporters.tensorflow_fourier import fourier_handlers

_XLA_MARKS = ("_XlaMustCompile", "_XlaCompile", "_XlaScope", "_noinline")


def handlers() -> dict[str, tuple[Any, list[Any]]]:
    """For ``custom_op_handlers``."""
    return {"Erfc": (_erfc, []), **fourier_handlers()}


def _erfc(context: Any, node: Any, name: str, _: Any) -> Any:
    """``1 - erf(x)``: Keras's exact GELU."""
    data, output = node.input[0], node.output[0]
    shape, dtype = context.get_shape(output), context.get_dtype(output)
    from tf2onnx import utils

    context.remove_node(node.name)
    one = context.make_const(utils.make_name(f"{name}_one"), np.array(1, utils.map_onnx_to_numpy_type(dtype)))
    inner = context.make_node("Erf", [data], op_name_scope=name)
    return context.make_node(
        "Sub", [one.output[0], inner.output[0]], outputs=[output], name=name, shapes=[shape], dtypes=[dtype]
    )


@contextmanager
def without_xla() -> Iterator[None]:
    """Take the marks for XLA off a graph before tf2onnx inlines its functions: marked ones never are.

    Keras compiles grouped convolutions so, and a SavedModel keeps the marks.
    """
    from tf2onnx import tf_loader

    original = tf_loader.tf_optimize

    def unmarked(inputs: Any, outputs: Any, graph: Any) -> Any:
        bodies = [graph.node, *(function.node_def for function in graph.library.function)]
        for mark in _XLA_MARKS:
            for holder in [*(node for body in bodies for node in body), *graph.library.function]:
                if mark in holder.attr:
                    del holder.attr[mark]
        return original(inputs, outputs, graph)

    with mock.patch.object(tf_loader, "tf_optimize", unmarked):
        yield


@contextmanager
def bfloat16_kept() -> Iterator[None]:
    """Let bfloat16 be bfloat16: tf2onnx writes float16, whose range ends at 65504, and leaves constants as they are."""
    from ml_dtypes import bfloat16
    from onnx import TensorProto
    from tensorflow.core.framework import types_pb2
    from tf2onnx import tf_utils, utils

    types = mock.patch.dict(tf_utils.TF_TO_ONNX_DTYPE, {types_pb2.DT_BFLOAT16: TensorProto.BFLOAT16})
    arrays = mock.patch.dict(utils.ONNX_TO_NUMPY_DTYPE, {TensorProto.BFLOAT16: np.dtype(bfloat16)})
    with types, arrays:
        yield
