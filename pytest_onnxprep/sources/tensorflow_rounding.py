"""Another rounding of the same TensorFlow graph: what any evaluation in its own precision is entitled to.

The method is that of `torch_rounding`, put into the widened graph: what an operator returns is rounded at random to a
neighbour in the model's precision, unless it is exact there; operators that add up many terms get moved terms.
"""

from __future__ import annotations

from typing import Any

_ROUNDED_NAMES = """
Add AddV2 Sub Mul Div RealDiv Xdivy DivNoNan Reciprocal Inv Square Sqrt Rsqrt Exp Expm1 Log Log1p Pow Sin Cos Tan Tanh
Sigmoid Softplus Elu Selu Erf Erfc Atan Atan2 Asin Acos Sinh Cosh SquaredDifference BiasAdd
"""
_ROUNDED = frozenset(_ROUNDED_NAMES.split())
#: Operators that add up many terms -> which inputs hold them.
_SUMMING = {
    "MatMul": 2,
    "BatchMatMul": 2,
    "BatchMatMulV2": 2,
    "Conv2D": 2,
    "DepthwiseConv2dNative": 2,
    "Einsum": 2,
    "Sum": 1,
    "Mean": 1,
    "Prod": 1,
    "Cumsum": 1,
    "Softmax": 1,
    "LogSoftmax": 1,
    "AvgPool": 1,
}


def add_rounding(graph: Any, precision: int, eps: float) -> None:
    """Round what the operators of a widened ``GraphDef`` return, in place; functions inside it stay exact.

    Args:
        graph: every float is a double.
        precision: the type to round to.
        eps: its machine epsilon.
    """
    from tensorflow.core.framework import types_pb2

    for index, node in enumerate(list(graph.node)):
        if node.op not in _ROUNDED and node.op not in _SUMMING:
            continue
        if node.attr["T"].type != types_pb2.DT_DOUBLE:
            continue
        name = node.name
        node.name = f"{name}/onnxprep_exact"
        build = DoubleBuilder(graph, f"{name}/onnxprep", index, precision)
        if node.op in _SUMMING:
            other = graph.node.add()
            other.CopyFrom(node)
            other.name = f"{name}/onnxprep_other"
            for place in range(min(_SUMMING[node.op], len(node.input))):
                other.input[place] = build.moved(node.input[place], eps)
            moved = build.moved(other.name, eps)
        else:
            moved = build.moved(node.name, eps)
        exact = build.node("Equal", [build.rounded(node.name), node.name])
        build.node("SelectV2", [exact, node.name, build.rounded(moved)], name=name)


class DoubleBuilder:
    """Adds nodes on doubles."""

    def __init__(self, graph: Any, prefix: str, index: int, precision: int) -> None:
        self._graph = graph
        self._prefix = prefix
        self._index = index
        self._precision = precision
        self._count = 0

    def node(self, op: str, inputs: list[str], *, name: str = "", **types: int) -> str:
        """Add a node; its type is double where none is given."""
        from tensorflow.core.framework import types_pb2

        added = self._graph.node.add()
        self._count += 1
        added.op, added.name = op, name or f"{self._prefix}_{self._count}"
        added.input.extend(inputs)
        for key, kind in (types or {"T": types_pb2.DT_DOUBLE}).items():
            added.attr[key].type = kind
        return str(added.name)

    def rounded(self, value: str) -> str:
        """To the nearest number of the precision."""
        from tensorflow.core.framework import types_pb2

        wide = types_pb2.DT_DOUBLE
        narrow = self.node("Cast", [value], SrcT=wide, DstT=self._precision)
        return self.node("Cast", [narrow], SrcT=self._precision, DstT=wide)

    def moved(self, value: str, eps: float) -> str:
        """By up to half an epsilon, at random."""
        from tensorflow.core.framework import types_pb2

        shape = self.node("Shape", [value], T=types_pb2.DT_DOUBLE, out_type=types_pb2.DT_INT32)
        chance = self.node("RandomUniform", [shape], T=types_pb2.DT_INT32, dtype=types_pb2.DT_DOUBLE)
        random = self._graph.node[-1]
        random.attr["seed"].i, random.attr["seed2"].i = self._index + 1, self._count
        step = self.node("Mul", [chance, self.constant(eps)])
        factor = self.node("AddV2", [step, self.constant(1 - eps / 2)])
        return self.node("Mul", [value, factor])

    def constant(self, value: float) -> str:
        """A number."""
        import tensorflow as tf
        from tensorflow.core.framework import types_pb2

        name = self.node("Const", [], dtype=types_pb2.DT_DOUBLE)
        self._graph.node[-1].attr["value"].tensor.CopyFrom(tf.make_tensor_proto(value, dtype=tf.float64))
        return name
