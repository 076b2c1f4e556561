"""Another rounding of the same ONNX graph: what any evaluation of it in its own precision is entitled to.

The method is that of `pytest_onnxprep.sources.torch_rounding`: the graph runs in float64, and what an operator returns
is rounded at random to a neighbour in the graph's precision, unless it is exact there; operators that add up many terms
get moved terms.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

_ROUNDED_NAMES = """
Acos Acosh Add Asin Asinh Atan Atanh BatchNormalization Celu Cos Cosh Div Elu Erf Exp Gelu HardSigmoid HardSwish
LeakyRelu Log Mish Mul PRelu Pow Reciprocal Selu Sigmoid Sin Sinh Softplus Softsign Sqrt Sub Sum Swish Tan Tanh
ThresholdedRelu
"""
_ROUNDED = frozenset(_ROUNDED_NAMES.split())
_REDUCING_NAMES = """
AveragePool CumSum GlobalAveragePool GridSample GroupNormalization InstanceNormalization LRN LayerNormalization
LogSoftmax LpNormalization Mean RMSNormalization ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMean ReduceProd
ReduceSum ReduceSumSquare Resize SimplifiedLayerNormalization Softmax
"""
#: Operators that add up many terms -> how many of their first inputs hold them.
_SUMMING = {
    **dict.fromkeys(_REDUCING_NAMES.split(), 1),
    **dict.fromkeys(("Conv", "ConvTranspose", "Einsum", "FusedMatMul", "MatMul"), 2),
    **dict.fromkeys(("GRU", "Gemm", "LSTM", "RNN", "SkipLayerNormalization"), 3),
}


class GraphRounding:
    """Rounds what operators return.

    Args:
        dtype: the precision.
        eps: its machine epsilon.
        seed: of this rounding.
    """

    def __init__(self, dtype: np.dtype[Any], eps: float, seed: int) -> None:
        self._dtype, self._eps = dtype, eps
        self._random = np.random.default_rng(seed)

    def call(self, kind: str, run: Callable[..., Any], inputs: Sequence[Any], keywords: dict[str, Any]) -> Any:
        """Call an operator as float arithmetic of the precision might compute it."""
        exact = run(*inputs, **keywords)
        if kind in _ROUNDED:
            return tuple(self._rounded(value, value) for value in exact)
        if kind not in _SUMMING:
            return exact
        count = _SUMMING[kind]
        other = run(*map(self._moved, inputs[:count]), *inputs[count:], **keywords)
        return tuple(self._rounded(value, around) for value, around in zip(exact, other, strict=True))

    def _rounded(self, exact: Any, around: Any) -> Any:
        """To the nearest number or a neighbour; what is a number of the precision stays."""
        if not _is_double(exact):
            return exact
        return np.where(self._narrow(exact) == exact, exact, self._narrow(self._moved(around)))

    def _moved(self, values: Any) -> Any:
        """By up to half an epsilon, at random."""
        if not _is_double(values):
            return values
        return values * (1 + self._eps * (self._random.random(np.shape(values)) - 0.5))

    def _narrow(self, values: np.ndarray) -> np.ndarray:
        return np.asarray(values).astype(self._dtype).astype(np.float64)


def _is_double(values: Any) -> bool:
    return getattr(values, "dtype", None) == np.float64
