"""What an output would be, had its operators rounded another way: for graphs too large to be evaluated in float64.

The graph runs in its own precision, and values that are rounded nearly always are moved by up to an epsilon at random:
what an operator returns, or the terms of one that adds up many. Operators that are often exact (single sums, products,
comparisons, copies) are left alone: what hangs on a tie or on a threshold is a promise, and noise there would excuse
its breach.
"""

from __future__ import annotations

from typing import Any

from pytest_onnxprep.compare.choices import inferred
from pytest_onnxprep.spec.tolerance import EPSILON

_ROUNDED_NAMES = """
BatchNormalization Cos Div Elu Erf Exp Gelu HardSwish Log Mish Pow Reciprocal Selu Sigmoid Sin Softplus Sqrt Tan Tanh
"""
_ROUNDED = frozenset(_ROUNDED_NAMES.split())
_SUMMING_NAMES = """
AveragePool Conv ConvTranspose Einsum FusedMatMul GRU Gemm GlobalAveragePool GroupNormalization InstanceNormalization
LRN LSTM LayerNormalization LogSoftmax LpNormalization MatMul RMSNormalization RNN ReduceL1 ReduceL2 ReduceLogSum
ReduceLogSumExp ReduceMean ReduceSum ReduceSumSquare Resize SimplifiedLayerNormalization Softmax
"""
_SUMMING = frozenset(_SUMMING_NAMES.split())
_ONE = "onnxprep_noise_one"


def with_noise(model: Any) -> Any | None:
    """A copy of a float32 ``ModelProto`` that rounds at random, anew in every run.

    Args:
        model: weights may be external.

    Returns:
        None where it has no such operator.
    """
    import onnx

    floats = _floats(model)
    copied = onnx.ModelProto()
    copied.CopyFrom(model)
    del copied.graph.node[:]
    for index, node in enumerate(model.graph.node):
        own = f"onnxprep_noise_{index}"
        if node.op_type in _SUMMING and node.input[0] in floats:
            copied.graph.node.extend(_moved(node.input[0], own, index))
            copied.graph.node.append(node)
            copied.graph.node[-1].input[0] = own
        elif node.op_type in _ROUNDED and node.output[0] in floats:
            copied.graph.node.append(node)
            copied.graph.node[-1].output[0] = own
            copied.graph.node.extend(_moved(own, node.output[0], index))
        else:
            copied.graph.node.append(node)
    if len(copied.graph.node) == len(model.graph.node):
        return None
    copied.graph.initializer.append(onnx.helper.make_tensor(_ONE, onnx.TensorProto.FLOAT, [], [1.0]))
    return copied


def _moved(value: str, into: str, index: int) -> list[Any]:
    """Nodes that move a tensor by up to an epsilon."""
    import onnx
    from onnx.helper import make_node

    step, factor, eps = f"onnxprep_step_{index}", f"onnxprep_factor_{index}", EPSILON["float32"]
    kind = int(onnx.TensorProto.FLOAT)
    return [
        make_node("RandomUniformLike", [value], [step], dtype=kind, low=-eps, high=eps, seed=float(index + 1)),
        make_node("Add", [step, _ONE], [factor]),
        make_node("Mul", [value, factor], [into]),
    ]


def _floats(model: Any) -> set[str]:
    """The tensors that are known to be float32."""
    import onnx

    graph = inferred(model)
    values = [*graph.input, *graph.value_info, *graph.output]
    return {value.name for value in values if value.type.tensor_type.elem_type == onnx.TensorProto.FLOAT}
