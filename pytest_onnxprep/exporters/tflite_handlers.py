"""TFLite operators that tf2onnx 1.17 has no translation of, as handlers of its own kind."""

from __future__ import annotations

from typing import Any

import numpy as np

from pytest_onnxprep.exporters.tensorflow_fourier import fourier_handlers

#: Inputs of an LSTM without peepholes, projection and normalisation: data, 4 + 4 weights, 4 biases, 2 states.
_PLAIN_LSTM = 15


def handlers() -> dict[str, tuple[Any, list[Any]]]:
    """For ``custom_op_handlers``."""
    return {"TFL_GELU": (_gelu, []), "TFL_UNIDIRECTIONAL_SEQUENCE_LSTM": (_lstm, []), **fourier_handlers()}


def _gelu(context: Any, node: Any, name: str, _: Any) -> Any:
    """``x / 2 (1 + erf(x / sqrt 2))``, or its approximation by tanh."""
    data, output = node.input[0], node.output[0]
    approximate = bool(node.get_attr_value("approximate", 0))
    context.remove_node(node.name)

    def constant(value: float) -> str:
        made: str = context.make_const(f"{name}_{value:.4f}", np.array(value, np.float32)).output[0]
        return made

    def apply(kind: str, *inputs: str, **given: Any) -> str:
        made: str = context.make_node(kind, list(inputs), op_name_scope=name, **given).output[0]
        return made

    if approximate:
        cube = apply("Mul", apply("Mul", data, data), apply("Mul", data, constant(0.044715)))
        inner = apply("Tanh", apply("Mul", apply("Add", data, cube), constant(float(np.sqrt(2 / np.pi)))))
    else:
        inner = apply("Erf", apply("Mul", data, constant(float(np.sqrt(0.5)))))
    half = apply("Mul", data, constant(0.5))
    outer = apply("Add", inner, constant(1.0))
    return context.make_node("Mul", [half, outer], outputs=[output], name=name)


def _lstm(context: Any, node: Any, name: str, _: Any) -> Any:
    """The plain LSTM that Keras layers become; its states begin at zero."""
    if len(node.input) != _PLAIN_LSTM or node.get_attr_value("cell_clip", 0) or node.get_attr_value("proj_clip", 0):
        raise ValueError(f"{name}: an LSTM with peepholes, projection, normalisation or clipping has no translation")
    if node.get_attr_value("fused_activation_function", b"TANH") not in (b"TANH", "TANH"):
        raise ValueError(f"{name}: an LSTM whose activation is not tanh has no translation")
    data, *weights = node.input[:13]
    hidden = context.get_shape(weights[4])[1]
    time_major = bool(node.get_attr_value("time_major", 0))
    output, shape, dtype = node.output[0], context.get_shape(node.output[0]), context.get_dtype(node.output[0])
    context.remove_node(node.name)

    def apply(kind: str, inputs: list[str], **given: Any) -> str:
        made: str = context.make_node(kind, inputs, op_name_scope=name, **given).output[0]
        return made

    def gathered(gates: list[str]) -> str:
        """TFLite's gates are input, forget, cell, output; ONNX's input, output, forget, cell."""
        entry, forget, cell, out = gates
        return apply("Concat", [entry, out, forget, cell], attr={"axis": 0})

    axes = context.make_const(f"{name}_axes", np.array([0], np.int64)).output[0]

    def stacked(value: str) -> str:
        if context.opset < 13:
            return apply("Unsqueeze", [value], attr={"axes": [0]})
        return apply("Unsqueeze", [value, axes])

    zeros = context.make_const(f"{name}_zeros", np.zeros(4 * hidden, np.float32)).output[0]
    bias = apply("Concat", [gathered(weights[8:12]), zeros], attr={"axis": 0})
    sequence = data if time_major else apply("Transpose", [data], attr={"perm": [1, 0, 2]})
    states = context.make_node(
        "LSTM",
        [sequence, stacked(gathered(weights[:4])), stacked(gathered(weights[4:8])), stacked(bias)],
        attr={"hidden_size": hidden},
        output_count=3,
        op_name_scope=name,
    )  # [time, 1, batch, hidden]
    direction = context.make_const(f"{name}_direction", np.array([1], np.int64)).output[0]
    squeezed = (
        {"inputs": [states.output[0]], "attr": {"axes": [1]}}
        if context.opset < 13
        else {"inputs": [states.output[0], direction]}
    )
    given = {"outputs": [output], "name": name, "shapes": [shape], "dtypes": [dtype]}
    if time_major:
        return context.make_node("Squeeze", **squeezed, **given)
    steps = context.make_node("Squeeze", **squeezed, op_name_scope=name).output[0]
    return context.make_node("Transpose", [steps], attr={"perm": [1, 0, 2]}, **given)
