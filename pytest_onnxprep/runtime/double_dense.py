"""Element-wise, normalising and indexing operators in numpy, where ``onnx.reference`` is inexact, slow or wrong."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from pytest_onnxprep.runtime.double_call import Call, one_axis
from pytest_onnxprep.runtime.double_recurrent import sigmoid as _sigmoid

#: Elements given to Python's ``math.erf`` at a time.
_BLOCK = 1 << 16


def erf(_: Call, x: np.ndarray) -> np.ndarray:
    """Erf; numpy has none."""
    flat = np.ascontiguousarray(x, dtype=np.float64).reshape(-1)
    found = np.empty_like(flat)
    for start in range(0, flat.size, _BLOCK):
        block = flat[start : start + _BLOCK]
        found[start : start + _BLOCK] = list(map(math.erf, block.tolist()))
    return found.reshape(x.shape)


def gelu(call: Call, x: np.ndarray) -> np.ndarray:
    """Gelu, exact or by tanh."""
    if call.get("approximate", "none") == "tanh":
        return fast_gelu(call, x)
    return np.asarray(0.5 * x * (1 + erf(call, x * math.sqrt(0.5))))


def fast_gelu(_: Call, x: np.ndarray, bias: np.ndarray | None = None) -> np.ndarray:
    """FastGelu."""
    x = x if bias is None else x + bias
    return np.asarray(0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x * x * x))))


def bias_gelu(call: Call, x: np.ndarray, bias: np.ndarray) -> np.ndarray:
    """BiasGelu."""
    return np.asarray(0.5 * (x + bias) * (1 + erf(call, (x + bias) * math.sqrt(0.5))))


def quick_gelu(call: Call, x: np.ndarray) -> np.ndarray:
    """QuickGelu."""
    return np.asarray(x * _sigmoid(call.get("alpha", 1.702) * x))


def sigmoid(_: Call, x: np.ndarray) -> np.ndarray:
    """Sigmoid."""
    return _sigmoid(x)


def elu(call: Call, x: np.ndarray) -> np.ndarray:
    """Elu."""
    return np.where(x > 0, x, call.get("alpha", 1.0) * np.expm1(np.minimum(x, 0)))


def _rows(call: Call, x: np.ndarray) -> tuple[np.ndarray, int]:
    """Up to opset 12 the softmaxes take the rest of the tensor, from their axis on, for one axis."""
    if call.opset >= 13:
        return x, call.get("axis", -1)
    axis = call.get("axis", 1) % max(x.ndim, 1)
    return x.reshape(math.prod(x.shape[:axis]), math.prod(x.shape[axis:])), -1


def softmax(call: Call, x: np.ndarray) -> np.ndarray:
    """Softmax."""
    if not x.size:
        return x
    rows, axis = _rows(call, x)
    powers = np.exp(rows - rows.max(axis=axis, keepdims=True))
    return np.reshape(powers / powers.sum(axis=axis, keepdims=True), x.shape)


def log_softmax(call: Call, x: np.ndarray) -> np.ndarray:
    """LogSoftmax, without the underflow of ``log(softmax)``."""
    if not x.size:
        return x
    rows, axis = _rows(call, x)
    rows = rows - rows.max(axis=axis, keepdims=True)
    return np.asarray(rows - np.log(np.exp(rows).sum(axis=axis, keepdims=True))).reshape(x.shape)


def hardmax(call: Call, x: np.ndarray) -> np.ndarray:
    """Hardmax."""
    rows, axis = _rows(call, x)
    found = np.zeros_like(rows)
    np.put_along_axis(found, np.expand_dims(rows.argmax(axis=axis), axis), 1, axis=axis)
    return found.reshape(x.shape)


def _normalised(x: np.ndarray, axes: tuple[int, ...], epsilon: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    mean = x.mean(axis=axes, keepdims=True)
    x = x - mean
    inverse = 1 / np.sqrt((x * x).mean(axis=axes, keepdims=True) + epsilon)
    return x * inverse, mean, inverse


def layer_normalization(
    call: Call, x: np.ndarray, scale: np.ndarray, bias: np.ndarray | None = None
) -> tuple[np.ndarray, ...]:
    """LayerNormalization."""
    axes = tuple(range(call.get("axis", -1) % x.ndim, x.ndim))
    y, mean, inverse = _normalised(x, axes, call.get("epsilon", 1e-5))
    y = y * scale if bias is None else y * scale + bias
    return (y, mean, inverse)[: call.outputs]


def rms_normalization(call: Call, x: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """RMSNormalization, and com.microsoft's SimplifiedLayerNormalization."""
    axes = tuple(range(call.get("axis", -1) % x.ndim, x.ndim))
    return np.asarray(x / np.sqrt((x * x).mean(axis=axes, keepdims=True) + call.get("epsilon", 1e-5)) * scale)


def skip_layer_normalization(
    call: Call,
    x: np.ndarray,
    skip: np.ndarray,
    scale: np.ndarray,
    bias: np.ndarray | None = None,
    shift: np.ndarray | None = None,
) -> tuple[np.ndarray, ...]:
    """com.microsoft's SkipLayerNormalization."""
    total = x + skip if shift is None else x + skip + shift
    y, mean, inverse = _normalised(total, (-1,), call.get("epsilon", 1e-12))
    y = y * scale if bias is None else y * scale + bias
    return (y, mean, inverse, total)[: call.outputs]


def instance_normalization(call: Call, x: np.ndarray, scale: np.ndarray, bias: np.ndarray) -> np.ndarray:
    """InstanceNormalization."""
    y = _normalised(x, tuple(range(2, x.ndim)), call.get("epsilon", 1e-5))[0]
    return np.asarray(y * one_axis(scale, 1, x.ndim) + one_axis(bias, 1, x.ndim))


def group_normalization(call: Call, x: np.ndarray, scale: np.ndarray, bias: np.ndarray) -> np.ndarray:
    """GroupNormalization: scale and bias are per group up to opset 20, per channel since."""
    groups = call.attributes["num_groups"]
    y = _normalised(x.reshape(x.shape[0], groups, -1), (-1,), call.get("epsilon", 1e-5))[0].reshape(x.shape)
    scale, bias = (np.repeat(each, x.shape[1] // each.size) for each in (scale, bias))
    return np.asarray(y * one_axis(scale, 1, x.ndim) + one_axis(bias, 1, x.ndim))


def fused_matmul(call: Call, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """com.microsoft's FusedMatMul."""
    if call.flag("transBatchA") or call.flag("transBatchB"):
        raise NotImplementedError
    a = a.swapaxes(-1, -2) if call.flag("transA") and a.ndim > 1 else a
    b = b.swapaxes(-1, -2) if call.flag("transB") and b.ndim > 1 else b
    return np.asarray(call.get("alpha", 1.0) * (a @ b))


def gather_elements(call: Call, data: np.ndarray, indices: np.ndarray) -> np.ndarray:
    """GatherElements; the indices may cover a part of the other axes only."""
    axis = call.get("axis", 0) % data.ndim
    part = tuple(slice(None) if at == axis else slice(size) for at, size in enumerate(indices.shape))
    return np.take_along_axis(data[part], indices.astype(np.int64), axis=axis)


_REDUCTIONS = {"add": np.add, "mul": np.multiply, "max": np.maximum, "min": np.minimum}


def _scatter(call: Call, data: np.ndarray, where: Any, updates: np.ndarray) -> np.ndarray:
    data = data.copy()
    how = call.get("reduction", "none")
    if how == "none":
        data[where] = updates
    else:
        _REDUCTIONS[how].at(data, where, updates)
    return data


def scatter_elements(call: Call, data: np.ndarray, indices: np.ndarray, updates: np.ndarray) -> np.ndarray:
    """ScatterElements."""
    where: list[Any] = list(np.indices(indices.shape, sparse=True))
    where[call.get("axis", 0)] = indices
    return _scatter(call, data, tuple(where), updates)


def scatter_nd(call: Call, data: np.ndarray, indices: np.ndarray, updates: np.ndarray) -> np.ndarray:
    """ScatterND."""
    return _scatter(call, data, tuple(np.moveaxis(indices, -1, 0)), updates)


def gather_nd(call: Call, data: np.ndarray, indices: np.ndarray) -> np.ndarray:
    """GatherND."""
    lead = call.get("batch_dims", 0)
    shape = indices.shape[:-1]
    batch = np.indices(shape, sparse=True)[:lead]
    return np.asarray(data[(*batch, *np.moveaxis(indices, -1, 0))])


def cum_sum(call: Call, x: np.ndarray, axis: np.ndarray) -> np.ndarray:
    """CumSum; takes its axis as a vector of one, too, as ONNX Runtime does."""
    at = int(axis.reshape(()))
    x = np.flip(x, at) if call.flag("reverse") else x
    total = np.cumsum(x, axis=at, dtype=x.dtype)
    if call.flag("exclusive"):
        total = np.roll(total, 1, axis=at)
        total[(slice(None),) * (at % x.ndim) + (slice(0, 1),)] = 0
    return np.flip(total, at) if call.flag("reverse") else total


def lrn(call: Call, x: np.ndarray) -> np.ndarray:
    """LRN."""
    size, channels = call.attributes["size"], x.shape[1]
    squares = np.concatenate([np.zeros_like(x[:, :1]), np.cumsum(x * x, axis=1)], axis=1)
    at = np.arange(channels)
    low = np.maximum(0, at - (size - 1) // 2)
    high = np.minimum(channels, at + size // 2 + 1)
    total = call.get("alpha", 1e-4) / size * (squares[:, high] - squares[:, low])
    return np.asarray(x / (call.get("bias", 1.0) + total) ** call.get("beta", 0.75))


def one_hot(call: Call, indices: np.ndarray, depth: np.ndarray, values: np.ndarray) -> np.ndarray:
    """OneHot; what is out of range has no place."""
    length = int(depth.reshape(()))
    axis = call.get("axis", -1) % (indices.ndim + 1)
    wanted = np.expand_dims(np.where(indices < 0, indices + length, indices), axis)
    hot = np.equal(wanted, one_axis(np.arange(length), axis, wanted.ndim))
    return np.asarray(np.where(hot, values[1], values[0]))


def dynamic_quantize_linear(_: Call, x: np.ndarray) -> tuple[np.ndarray, ...]:
    """DynamicQuantizeLinear."""
    low, high = min(0.0, float(x.min())), max(0.0, float(x.max()))
    scale = (high - low) / 255 if high > low else 1.0
    zero = np.clip(np.rint(-low / scale), 0, 255)
    return np.clip(np.rint(x / scale) + zero, 0, 255).astype(np.uint8), np.asarray(scale), zero.astype(np.uint8)


def refuse(_: Call, *inputs: Any) -> np.ndarray:
    """An operator that ``onnx.reference`` computes in float32.

    Raises:
        NotImplementedError: always.
    """
    raise NotImplementedError
