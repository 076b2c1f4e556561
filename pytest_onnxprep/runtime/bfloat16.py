"""Sessions that take and give bfloat16, which NumPy does not have: arrays of `ml_dtypes.bfloat16` stand for it."""

from __future__ import annotations

import ctypes
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

_ONNX_BFLOAT16 = 16  # TensorProto.BFLOAT16
_TYPE = "tensor(bfloat16)"


def teach(session: Any) -> None:
    """Let ``session.run`` pass bfloat16, where the session has any at its ends; others keep their own ``run``."""
    if any(node.type == _TYPE for node in (*session.get_inputs(), *session.get_outputs())):
        session.run = _Run(session)


class _Run:
    """In the stead of ``InferenceSession.run``, which refuses bfloat16 on the way in and on the way out."""

    def __init__(self, session: Any) -> None:
        self._run = session.run_with_ort_values
        self._names = [node.name for node in session.get_outputs()]

    def __call__(self, names: Sequence[str] | None, feeds: Mapping[str, Any], run_options: Any = None) -> list[Any]:
        """See ``InferenceSession.run``."""
        given = {name: _to_value(np.asarray(array)) for name, array in feeds.items()}
        return [_to_numpy(value) for value in self._run(list(names or self._names), given, run_options)]


def _to_value(array: np.ndarray) -> Any:
    from onnxruntime import OrtValue

    if array.dtype.name != "bfloat16":
        return OrtValue.ortvalue_from_numpy(array)
    bits = np.ascontiguousarray(array).view(np.uint16)
    return OrtValue.ortvalue_from_numpy_with_onnx_type(bits, _ONNX_BFLOAT16)


def _to_numpy(value: Any) -> Any:
    if value.data_type() != _TYPE:
        return value.numpy()
    import ml_dtypes

    shape = tuple(value.shape())
    bits = np.empty(shape, np.uint16)
    if bits.size:  # the tensor ends with the value: its bits are copied
        ctypes.memmove(bits.ctypes.data, value.data_ptr(), bits.nbytes)
    return bits.view(ml_dtypes.bfloat16)
