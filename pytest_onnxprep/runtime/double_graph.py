"""An ONNX graph in float64: what it computes, apart from how it rounds."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from pytest_onnxprep.runtime.double_limit import within
from pytest_onnxprep.runtime.double_ops import make_evaluator
from pytest_onnxprep.runtime.double_rounding import GraphRounding
from pytest_onnxprep.runtime.double_types import put_weights, take_weights, widen_graph, widen_nodes, widened

Arrays = Mapping[str, np.ndarray]
Evaluate = Callable[[Arrays], list[Any]]

#: Larger files are not widened: the copy is held in memory twice over.
LARGEST_BYTES = 400_000_000
#: ONNX Runtime has float64 kernels for these that compute in float64 throughout. (For others it has kernels that do
#: not: Resize, GridSample and AffineGrid, say, take float32 coordinates.)
_EXACT = """
Abs Add And ArgMax ArgMin BatchNormalization BitwiseAnd BitwiseNot BitwiseOr BitwiseXor Cast Ceil Clip Compress
Concat ConcatFromSequence Constant ConstantOfShape Cos CumSum DepthToSpace Div Dropout Einsum Equal Exp Expand
EyeLike Flatten Floor Gather GatherElements GatherND Gemm Greater GreaterOrEqual Identity If IsInf IsNaN
LayerNormalization LeakyRelu Less LessOrEqual Log LogSoftmax Loop LpNormalization MatMul Max MaxPool Min Mod Mul Neg
NonZero Not OneHot Or PRelu Pad Pow Range Reciprocal ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax
ReduceMean ReduceMin ReduceProd ReduceSum ReduceSumSquare Relu Reshape ReverseSequence Round Scan ScatterElements
ScatterND SequenceAt SequenceConstruct SequenceEmpty SequenceErase SequenceInsert SequenceLength Shape Sigmoid Sign
Sin Size Slice Softmax SpaceToDepth Split SplitToSequence Sqrt Squeeze Sub Sum Tanh Tile TopK Transpose Trilu Unique
Unsqueeze Where Xor
"""
EXACT_IN_ONNXRUNTIME = frozenset(_EXACT.split())


class DoubleGraph:
    """The model's graph with every float widened.

    ONNX Runtime evaluates it where it has exact float64 kernels for all of it, numpy otherwise.

    Args:
        path: the ONNX file, external data beside it; is not changed.
        max_s: seconds that one evaluation may take, the first with its preparation; one that takes longer is the last.

    Attributes:
        reason: why there are no outputs; None while there are.
    """

    def __init__(self, path: Path, *, max_s: float = 4.0) -> None:
        self._path = path
        self._max_s = max_s
        self._inputs: set[str] = set()
        self._outputs: list[str] = []
        self._evaluate: Evaluate | None = None
        self._stop: Callable[[], None] = lambda: None
        self._evaluator: Any = None
        self.reason: str | None = None

    def run(self, feeds: Arrays) -> dict[str, np.ndarray] | None:
        """The outputs in float64; None where the graph cannot be evaluated so (no verdict)."""
        if self.reason is not None:
            return None
        try:
            values = within(self._max_s, lambda: self._run(feeds), lambda: self._stop())
            return dict(zip(self._outputs, map(np.asarray, values), strict=True))
        except Exception as error:  # the evaluators' exceptions are no verdict
            cause = error.__cause__ or error
            self.reason = f"{type(cause).__name__}: {cause}"
            self._evaluate = None
            return None

    def rounded(self, feeds: Arrays, dtype: np.dtype[Any], eps: float, seed: int) -> dict[str, np.ndarray] | None:
        """The outputs of an evaluation that rounds to this precision at random; None where there is none in time."""
        try:
            values = within(2 * self._max_s, lambda: self._run_rounded(feeds, GraphRounding(dtype, eps, seed)))
            return dict(zip(self._outputs, map(np.asarray, values), strict=True))
        except Exception:  # no verdict
            return None

    def _run_rounded(self, feeds: Arrays, rounding: GraphRounding) -> list[Any]:
        if self._evaluator is None:
            self._evaluator = make_evaluator(*self._widened())
        self._evaluator.rounding = rounding
        with np.errstate(all="ignore"):
            given = {name: widened(np.asarray(feeds[name])) for name in self._inputs & feeds.keys()}
            return list(self._evaluator.run(self._outputs, given))

    def _run(self, feeds: Arrays) -> list[Any]:
        with np.errstate(all="ignore"):
            evaluate = self._evaluate = self._evaluate or self._prepare()
            return evaluate({name: widened(np.asarray(feeds[name])) for name in self._inputs & feeds.keys()})

    def _prepare(self) -> Evaluate:
        proto, weights = self._widened()
        if _operators(proto) <= EXACT_IN_ONNXRUNTIME:
            return self._with_onnxruntime(proto, weights)
        return self._with_numpy(proto, weights)

    def _widened(self) -> tuple[Any, dict[str, np.ndarray]]:
        """The model without its weights, and these."""
        import onnx

        proto = onnx.load(str(self._path), load_external_data=False)
        if self._path.stat().st_size + _external_bytes(proto.graph, self._path.parent) > LARGEST_BYTES:
            raise MemoryError("the model is too large to be widened")
        onnx.external_data_helper.load_external_data_for_model(proto, str(self._path.parent))
        self._inputs = {value.name for value in proto.graph.input}
        self._outputs = [value.name for value in proto.graph.output]
        weights = take_weights(proto.graph)
        widen_graph(proto.graph)
        for function in proto.functions:
            widen_nodes(function.node)
        return proto, weights

    def _with_numpy(self, proto: Any, weights: dict[str, np.ndarray]) -> Evaluate:
        evaluator = make_evaluator(proto, weights)
        return lambda feeds: list(evaluator.run(self._outputs, dict(feeds)))

    def _with_onnxruntime(self, proto: Any, weights: dict[str, np.ndarray]) -> Evaluate:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        options.intra_op_num_threads = 1
        put_weights(proto.graph, weights)
        try:
            session = onnxruntime.InferenceSession(
                proto.SerializeToString(), sess_options=options, providers=["CPUExecutionProvider"]
            )
        except Exception:  # a type, or a former opset, for which there is no kernel
            session = None
        del proto.graph.initializer[:]
        if session is None:
            return self._with_numpy(proto, weights)

        def evaluate(feeds: Arrays) -> list[Any]:
            run_options = onnxruntime.RunOptions()
            run_options.log_severity_level = 4
            self._stop = lambda: setattr(run_options, "terminate", True)
            try:
                return list(session.run(self._outputs, dict(feeds), run_options))
            except Exception:
                if run_options.terminate:
                    raise
                self._evaluate = self._with_numpy(proto, weights)
                return self._evaluate(feeds)

        return evaluate


def _external_bytes(graph: Any, folder: Path) -> int:
    import onnx

    tensors = filter(onnx.external_data_helper.uses_external_data, graph.initializer)
    files = {onnx.external_data_helper.ExternalDataInfo(tensor).location for tensor in tensors}
    return sum((folder / file).stat().st_size for file in files)


def _operators(model: Any) -> set[str]:
    """Types of the operators, with a domain before those that are not ONNX's own."""

    def walk(nodes: Iterable[Any]) -> Iterator[str]:
        for node in nodes:
            if (node.domain, node.op_type) in functions:
                continue
            yield f"{node.domain}.{node.op_type}" if node.domain not in ("", "ai.onnx") else node.op_type
            for attribute in node.attribute:
                if attribute.HasField("g"):
                    yield from walk(attribute.g.node)

    functions = {(function.domain, function.name) for function in model.functions}
    return set(walk([*model.graph.node, *(node for function in model.functions for node in function.node)]))
