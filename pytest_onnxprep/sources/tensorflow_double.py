"""A TensorFlow graph in float64: its own rounding error is what it differs by."""

from __future__ import annotations

from typing import Any, cast

import numpy as np

from pytest_onnxprep.sources.base import Arrays, Feeds
from pytest_onnxprep.sources.tensorflow_function import references
from pytest_onnxprep.sources.tensorflow_rounding import DoubleBuilder, add_rounding
from pytest_onnxprep.spec.signature import Signature

#: Above this no copy is made: the graph would hold it in one protocol buffer.
_LARGEST_BYTES = 500_000_000
_SUFFIX = "_in_double"
#: TensorFlow's numbers for float32, float16 and bfloat16 -> their machine epsilons.
_FLOAT = 1
_FUSED = ("FusedBatchNorm", "FusedBatchNormV2", "FusedBatchNormV3")
_EPSILONS = {_FLOAT: 2.0**-23, 19: 2.0**-10, 14: 2.0**-7}


class TensorFlowDouble:
    """A model's graph with every float widened.

    Args:
        graph: the widened graph.
        inputs: names of the inputs, in the order of ``feeds``.
        feeds: tensors of the graph.
        fetches: likewise.
        names: of the outputs.
        precision: the float type of most of the model.
    """

    def __init__(
        self, graph: Any, inputs: list[str], feeds: list[str], fetches: list[str], names: list[str], precision: int
    ) -> None:
        self._graph = graph
        self._inputs = inputs
        self._feeds, self._fetches = feeds, fetches
        self._names = names
        self._precision = precision
        self._exact = self._imported(graph)
        self._rounding: Any = None

    def __call__(self, feeds: Feeds) -> Arrays | None:
        """The outputs in float64; None where an operator has no such form."""
        return self._run(self._exact, feeds)

    def rounded(self, feeds: Feeds, seed: int) -> Arrays | None:  # noqa: ARG002 - every call rounds anew
        """The outputs of an evaluation that rounds at random, see `tensorflow_rounding`."""
        try:
            if self._rounding is None:
                graph = type(self._graph)()
                graph.CopyFrom(self._graph)
                add_rounding(graph, self._precision, _EPSILONS[self._precision])
                self._rounding = self._imported(graph)
        except Exception:  # no verdict
            return None
        return self._run(self._rounding, feeds)

    def _run(self, function: Any, feeds: Feeds) -> Arrays | None:
        import tensorflow as tf

        try:
            outputs = function(*[tf.convert_to_tensor(_wide(feeds[name])) for name in self._inputs])
        except Exception:  # no verdict: whatever cannot be said in float64 is not our finding
            return None
        return {name: np.asarray(value) for name, value in zip(self._names, outputs, strict=True)}

    def _imported(self, graph: Any) -> Any:
        import tensorflow as tf

        wrapped = tf.compat.v1.wrap_function(lambda: tf.graph_util.import_graph_def(graph, name=""), [])
        return wrapped.prune([wrapped.graph.get_tensor_by_name(name) for name in self._feeds], self._fetches)


def make_double(source: Any, signature: Signature) -> TensorFlowDouble | None:
    """The model's graph with every float widened, as ``feeds -> outputs``; None where it cannot be had.

    The traced function is frozen, every ``DT_FLOAT`` and ``DT_HALF`` of its graph becomes ``DT_DOUBLE``, weights
    included, and the result is imported again. An operator without a float64 kernel leaves no verdict.

    Args:
        source: a `KerasSource` or `TfFunctionSource`; the model stays as it is.
        signature: input names and output names.
    """
    try:
        return _widened(source, signature)
    except Exception:
        return None


def _wide(array: np.ndarray) -> np.ndarray:
    return array.astype(np.float64) if array.dtype.kind == "f" or array.dtype.name == "bfloat16" else array


def _widened(source: Any, signature: Signature) -> TensorFlowDouble:
    import tensorflow as tf
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    inputs = list(signature.inputs)
    declared = [
        tf.TensorSpec([int(str(dim)) if dim.is_static else None for dim in spec.shape], spec.dtype)
        for spec in signature.inputs.values()
    ]
    names: list[str] = []

    def flat(*tensors: Any) -> list[Any]:
        named = source.named(source.call(dict(zip(inputs, tensors, strict=True))), signature)
        names[:] = [name for name, _ in named]
        return [tf.identity(value) for _, value in named]

    concrete = tf.function(flat, input_signature=declared, autograph=False).get_concrete_function()
    frozen = convert_variables_to_constants_v2(concrete, lower_control_flow=False)
    graph = cast("Any", frozen.graph.as_graph_def())
    if graph.ByteSize() > _LARGEST_BYTES:
        raise ValueError("too large")
    kinds = [node.attr["T"].type for node in graph.node if "T" in node.attr]  # asking for a key would make it
    kinds = [kind for kind in kinds if kind in _EPSILONS]
    # Functions are global in TensorFlow: the widened ones need names of their own.
    own = {body.signature.name for body in graph.library.function}
    for body in graph.library.function:
        body.signature.name += _SUFFIX
        for argument in (*body.signature.input_arg, *body.signature.output_arg):
            argument.type = _double(argument.type)
    for node in (*graph.node, *(node for body in graph.library.function for node in body.node_def)):
        node.op += _SUFFIX if node.op in own else ""
        for reference in references(node):
            if reference.name in own:  # even an empty assignment would make a function of the attribute
                reference.name += _SUFFIX
        _widen_node(node)
    for node in [node for node in graph.node if node.op in _FUSED and not node.attr["is_training"].b]:
        _take_apart(graph, node)
    feeds = [tensor.name for tensor in frozen.inputs]
    fetches = [tensor.name for tensor in frozen.outputs]
    return TensorFlowDouble(graph, inputs, feeds, fetches, names, max(kinds, key=kinds.count, default=_FLOAT))


def _take_apart(graph: Any, node: Any) -> None:
    """Write a widened fused batch normalisation out: TensorFlow has it for float32 statistics only."""
    if node.attr["data_format"].s not in (b"", b"NHWC", b"NDHWC"):
        return
    x, scale, offset, mean, variance = node.input[:5]
    build = DoubleBuilder(graph, f"{node.name}/onnxprep_apart", 0, _FLOAT)
    spread = build.node("Rsqrt", [build.node("AddV2", [variance, build.constant(node.attr["epsilon"].f)])])
    centred = build.node("Sub", [x, mean])
    scaled = build.node("Mul", [centred, build.node("Mul", [spread, scale])])
    build.node("AddV2", [scaled, offset], name=node.name)
    graph.node.remove(node)


def _double(kind: int) -> int:
    from tensorflow.core.framework import types_pb2

    narrow = (types_pb2.DT_FLOAT, types_pb2.DT_HALF, types_pb2.DT_BFLOAT16)
    return int(types_pb2.DT_DOUBLE) if kind in narrow else kind


def _widen_node(node: Any) -> None:
    for key in node.attr:
        value = node.attr[key]
        kind = value.WhichOneof("value")
        if kind == "type":
            value.type = _double(value.type)
        elif kind == "list" and value.list.type:
            value.list.type[:] = [_double(item) for item in value.list.type]
        elif kind == "tensor":
            _widen_tensor(value.tensor)


def _widen_tensor(tensor: Any) -> None:
    import tensorflow as tf

    if _double(tensor.dtype) != tensor.dtype:
        wide = np.asarray(tf.make_ndarray(tensor)).astype(np.float64)
        tensor.CopyFrom(tf.make_tensor_proto(wide, shape=wide.shape))
