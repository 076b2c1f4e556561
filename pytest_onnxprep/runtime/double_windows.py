"""Operators that slide a window over their input: convolutions and pools, in numpy."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from pytest_onnxprep.runtime.double_call import Call, one_axis, padded, taps, trailing, window_pads

#: Numbers unfolded at a time: one multiplication is short enough to be interrupted after, and stays in the cache.
UNFOLDED = 1 << 20


def conv(call: Call, x: np.ndarray, w: np.ndarray, b: np.ndarray | None = None) -> np.ndarray:
    """Conv."""
    kernel = w.shape[2:]
    strides = call.get("strides", [1] * len(kernel))
    dilations = call.get("dilations", [1] * len(kernel))
    x = padded(x, window_pads(call, x.shape[2:], kernel, strides, dilations))
    group = call.get("group", 1)
    depthwise = w.shape[1] == 1 and group > 1
    y = (_depthwise if depthwise else _convolved)(x, w, group, strides, dilations)
    return y if b is None else y + one_axis(b, 1, y.ndim)


def _counts(size: Sequence[int], kernel: Sequence[int], strides: Sequence[int], dilations: Sequence[int]) -> list[int]:
    each = zip(size, kernel, strides, dilations, strict=True)
    return [max(0, (n - (k - 1) * dilation - 1) // stride + 1) for n, k, stride, dilation in each]


def _depthwise(
    x: np.ndarray, w: np.ndarray, group: int, strides: Sequence[int], dilations: Sequence[int]
) -> np.ndarray:
    count = _counts(x.shape[2:], w.shape[2:], strides, dilations)
    x = x[:, :, None]
    w = w.reshape(group, -1, *w.shape[2:])
    y = np.zeros((x.shape[0], group, w.shape[1], *count))
    for position in np.ndindex(*w.shape[2:]):
        weight = w[trailing(position)].reshape(group, -1, *[1] * len(count))
        y += x[taps(position, count, strides, dilations)] * weight
    return y.reshape(x.shape[0], -1, *count)


def _convolved(
    x: np.ndarray, w: np.ndarray, group: int, strides: Sequence[int], dilations: Sequence[int]
) -> np.ndarray:
    kernel = w.shape[2:]
    count = _counts(x.shape[2:], kernel, strides, dilations)
    rank = len(kernel)
    y = np.zeros((x.shape[0], group, w.shape[0] // group, *count))
    if not y.size:
        return y.reshape(x.shape[0], w.shape[0], *count)
    x = x.reshape(x.shape[0], group, -1, *x.shape[2:])
    flat = w.reshape(group, w.shape[0] // group, -1)
    spatial = x.strides[3:]
    steps = [step * dilation for step, dilation in zip(spatial, dilations, strict=True)]
    steps += [step * stride for step, stride in zip(spatial, strides, strict=True)]
    windows = np.lib.stride_tricks.as_strided(
        x, (*x.shape[:3], *kernel, *count), (*x.strides[:3], *steps), writeable=False
    )
    rows = max(1, UNFOLDED // (flat.shape[2] * math.prod(count[1:])))
    along = (slice(None),) * (rank + 1)
    for sample, part in np.ndindex(x.shape[0], group):
        for start in range(0, count[0], rows):
            block = windows[sample, part][(*along, slice(start, start + rows))]
            product = flat[part] @ block.reshape(flat.shape[2], -1)
            y[sample, part, :, start : start + rows] = product.reshape(-1, *block.shape[rank + 1 :])
    return y.reshape(x.shape[0], w.shape[0], *count)


def conv_transpose(call: Call, x: np.ndarray, w: np.ndarray, b: np.ndarray | None = None) -> np.ndarray:
    """ConvTranspose."""
    kernel, size = w.shape[2:], x.shape[2:]
    rank, group = len(kernel), call.get("group", 1)
    strides = call.get("strides", [1] * rank)
    dilations = call.get("dilations", [1] * rank)
    extra = call.get("output_padding", [0] * rank)
    each = zip(size, kernel, strides, dilations, extra, strict=True)
    full = [(n - 1) * stride + (k - 1) * dilation + 1 + more for n, k, stride, dilation, more in each]
    y = np.zeros((x.shape[0], group, w.shape[1], *full))
    x = x.reshape(x.shape[0], group, x.shape[1] // group, -1)
    w = w.reshape(group, w.shape[0] // group, w.shape[1], *kernel)
    for position in np.ndindex(*kernel):
        weight = w[trailing(position)].swapaxes(1, 2)
        where = taps(position, size, strides, dilations)
        for sample in range(x.shape[0]):
            y[sample][where] += (weight @ x[sample]).reshape(group, -1, *size)
    y = y.reshape(x.shape[0], -1, *full)
    y = padded(y, [(-before, -after) for before, after in _transpose_pads(call, full, size, strides)])
    return y if b is None else y + one_axis(b, 1, y.ndim)


def _transpose_pads(
    call: Call, full: Sequence[int], size: Sequence[int], strides: Sequence[int]
) -> list[tuple[int, int]]:
    mode, shape, rank = call.get("auto_pad", "NOTSET"), call.get("output_shape", None), len(size)
    if shape is None and mode in ("SAME_UPPER", "SAME_LOWER"):
        shape = [n * stride for n, stride in zip(size, strides, strict=True)]
    if shape is None:
        pads = call.get("pads", [0] * (2 * rank)) if mode == "NOTSET" else [0] * (2 * rank)
        return [(pads[axis], pads[axis + rank]) for axis in range(rank)]
    found = []
    for have, want in zip(full, shape[-rank:], strict=True):
        total = max(0, have - want)
        small, large = total // 2, total - total // 2
        before, after = (small, large) if mode == "SAME_UPPER" else (large, small)
        found.append((before, after + min(0, have - want)))
    return found


class _Pool:
    """The windows of a pool over one input: how many, and where."""

    def __init__(self, call: Call, x: np.ndarray) -> None:
        self.kernel = call.attributes["kernel_shape"]
        rank = len(self.kernel)
        self.strides = call.get("strides", [1] * rank)
        self.dilations = call.get("dilations", [1] * rank)
        self.size = x.shape[2:]
        self.pads = window_pads(call, self.size, self.kernel, self.strides, self.dilations)
        ceil = call.flag("ceil_mode")
        self.count = [self._count(axis, ceil) for axis in range(rank)]

    def _count(self, axis: int, ceil: bool) -> int:
        (before, after), stride = self.pads[axis], self.strides[axis]
        room = self.size[axis] + before + after - self._extent(axis)
        if room < 0 and not ceil:
            return 0
        count = -(-room // stride) + 1 if ceil else room // stride + 1
        starts_outside = ceil and (count - 1) * stride >= self.size[axis] + before
        return int(count - 1 if starts_outside else count)

    def _extent(self, axis: int) -> int:
        return int((self.kernel[axis] - 1) * self.dilations[axis] + 1)

    def fit(self, x: np.ndarray, value: float) -> np.ndarray:
        """The input padded to exactly what the windows cover."""
        pads = []
        for axis, (before, _) in enumerate(self.pads):
            needed = (self.count[axis] - 1) * self.strides[axis] + self._extent(axis)
            pads.append((before, needed - before - self.size[axis]))
        return padded(x, pads, value)

    def fold(self, x: np.ndarray, value: float, combine: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> np.ndarray:
        """Combine the elements of every window, starting from ``value``."""
        found = np.full((*x.shape[:2], *self.count), value, dtype=x.dtype)
        if not found.size:
            return found
        wide = self.fit(x, value)
        for position in np.ndindex(*self.kernel):
            found = combine(found, wide[taps(position, self.count, self.strides, self.dilations)])
        return found

    def covered(self, axis: int, with_pads: bool) -> np.ndarray:
        """How many elements every window covers along an axis; those beyond the padding never count."""
        before, after = self.pads[axis]
        at = np.arange(self.count[axis])[:, None] * self.strides[axis] - before
        at = at + np.arange(self.kernel[axis]) * self.dilations[axis]
        low, high = (-before, self.size[axis] + after) if with_pads else (0, self.size[axis])
        return np.asarray(((at >= low) & (at < high)).sum(1))


def max_pool(call: Call, x: np.ndarray) -> np.ndarray | tuple[np.ndarray, np.ndarray]:
    """MaxPool, with indices where they are asked for."""
    pool = _Pool(call, x)
    lowest: float = -np.inf if x.dtype.kind == "f" else int(np.iinfo(x.dtype).min)
    best = pool.fold(x, lowest, np.maximum)
    if call.outputs == 1:
        return best
    order = "F" if call.flag("storage_order") else "C"
    place = np.arange(math.prod(pool.size)).reshape(pool.size, order=order)  # type: ignore[call-overload]
    place = pool.fit(place[None, None], -1)
    wide = pool.fit(x, lowest)
    found = np.full(best.shape, -1, dtype=np.int64)
    for position in np.ndindex(*pool.kernel):
        where = taps(position, pool.count, pool.strides, pool.dilations)
        hit = (found < 0) & (wide[where] == best)
        found = np.where(hit, place[where], found)
    planes = np.arange(x.shape[0] * x.shape[1]).reshape(*x.shape[:2], *[1] * len(pool.size))
    return best, found + planes * math.prod(pool.size)


def average_pool(call: Call, x: np.ndarray) -> np.ndarray:
    """AveragePool."""
    pool = _Pool(call, x)
    total = pool.fold(x, 0.0, np.add)
    for axis in range(len(pool.kernel)):
        total = total / one_axis(pool.covered(axis, call.flag("count_include_pad")), axis + 2, x.ndim)
    return total


def lp_pool(call: Call, x: np.ndarray) -> np.ndarray:
    """LpPool."""
    p = call.get("p", 2)
    return np.asarray(_Pool(call, np.abs(x) ** p).fold(np.abs(x) ** p, 0.0, np.add) ** (1 / p))


def global_max_pool(_: Call, x: np.ndarray) -> np.ndarray:
    """GlobalMaxPool."""
    return np.asarray(x.max(axis=tuple(range(2, x.ndim)), keepdims=True))
