"""What tf2onnx 1.17 does not take of TensorFlow: operators, as handlers of its own kind, and functions for XLA."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

import numpy as np


def handlers() -> dict[str, tuple[Any, list[Any]]]:
    """For ``custom_op_handlers``."""
    return {"Erfc": (_erfc, [])}


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
    """Trace what Keras compiles with XLA (grouped convolutions) as plain functions: the others are never inlined."""
    import tensorflow as tf

    original = tf.function

    def plain(func: Any = None, **options: Any) -> Any:
        return original(func, **{**options, "jit_compile": None})

    with mock.patch.object(tf, "function", plain):
        yield
