"""TensorFlow operators that tf2onnx 1.17 has no translation of, as handlers of its own kind."""

from __future__ import annotations

from typing import Any

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
