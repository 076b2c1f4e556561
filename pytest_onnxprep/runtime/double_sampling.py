"""Operators that read between the elements of their input, in numpy: Resize, Upsample, GridSample, AffineGrid."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pytest_onnxprep.runtime.double_call import Call


@dataclass(frozen=True)
class _Axis:
    """How one axis is resized: an output step is ``numerator / denominator`` input steps."""

    before: int
    after: int
    numerator: float
    denominator: float
    start: float = 0.0
    end: float = 1.0

    def coordinates(self, mode: str) -> np.ndarray:
        """Where every output lies on the input's axis."""
        x = np.arange(self.after, dtype=np.float64)
        last = self.before - 1
        if mode == "align_corners":
            return x * last / (self.after - 1) if self.after > 1 else x * 0
        if mode == "asymmetric":
            return np.asarray(x * self.numerator / self.denominator)
        if mode == "tf_half_pixel_for_nn":
            return np.asarray((x + 0.5) * self.numerator / self.denominator)
        if mode == "tf_crop_and_resize":
            if self.after == 1:
                return x + 0.5 * (self.start + self.end) * last
            return np.asarray(self.start * last + x * (self.end - self.start) * last / (self.after - 1))
        if mode == "pytorch_half_pixel" and self.after == 1:
            return x * 0
        half_pixel = (x + 0.5) * self.numerator / self.denominator - 0.5
        if mode == "half_pixel_symmetric":
            adjustment = self.after * self.numerator / (self.before * self.denominator)
            return np.asarray(self.before / 2 * (1 - adjustment) + half_pixel)
        return np.asarray(half_pixel)


def upsample(call: Call, x: np.ndarray, scales: np.ndarray | None = None) -> np.ndarray:
    """Upsample: Resize of long ago."""
    given = call.get("scales", None) if scales is None else scales
    axes = [_by_scale(size, float(scale)) for size, scale in zip(x.shape, given, strict=True)]
    return _resized(call, x, dict(enumerate(axes)), {"nearest": "nearest"}.get(call.get("mode", ""), "linear"))


def resize(
    call: Call,
    x: np.ndarray,
    roi: np.ndarray | None = None,
    scales: np.ndarray | None = None,
    sizes: np.ndarray | None = None,
) -> np.ndarray:
    """Resize, of every opset."""
    if call.opset < 11:
        return upsample(call, x, roi)
    which = [axis % x.ndim for axis in call.get("axes", range(x.ndim))]
    if sizes is not None and sizes.size:
        wanted = [int(size) for size in sizes]
        policy = call.get("keep_aspect_ratio_policy", "stretch")
        if policy == "stretch":
            axes = [_Axis(x.shape[axis], size, x.shape[axis], size) for axis, size in zip(which, wanted, strict=True)]
        else:
            ratios = [size / x.shape[axis] for axis, size in zip(which, wanted, strict=True)]
            ratio = min(ratios) if policy == "not_larger" else max(ratios)
            axes = [_Axis(x.shape[axis], math.floor(ratio * x.shape[axis] + 0.5), 1.0, ratio) for axis in which]
    else:
        assert scales is not None
        axes = [_by_scale(x.shape[axis], float(scale)) for axis, scale in zip(which, scales, strict=True)]
    if call.get("coordinate_transformation_mode", "half_pixel") == "tf_crop_and_resize" and roi is not None:
        half = len(axes)
        axes = [
            _Axis(a.before, a.after, a.numerator, a.denominator, float(roi[at]), float(roi[at + half]))
            for at, a in enumerate(axes)
        ]
    return _resized(call, x, dict(zip(which, axes, strict=True)), call.get("mode", "nearest"))


def _by_scale(size: int, scale: float) -> _Axis:
    """By a factor, which is the decimal that its float32 stands for; the new size is float32's affair too."""
    after = int(np.floor(np.float32(size) * np.float32(scale)))
    return _Axis(size, after, 1.0, float(str(np.float32(scale))) if scale == np.float32(scale) else scale)


def _resized(call: Call, x: np.ndarray, axes: dict[int, _Axis], mode: str) -> np.ndarray:
    transform = call.get("coordinate_transformation_mode", "asymmetric" if call.opset < 11 else "half_pixel")
    outside: dict[int, np.ndarray] = {}
    dtype = x.dtype
    for number, axis in axes.items():
        identity = axis.before == axis.after and axis.numerator == axis.denominator
        if identity and transform != "tf_crop_and_resize":
            continue
        at = axis.coordinates(transform)
        if mode == "nearest":
            x = np.take(x, np.clip(_nearest(call, at, axis), 0, axis.before - 1), axis=number)
        else:
            indices, weights = _taps(call, at, axis, mode)
            shape = (-1, *[1] * (x.ndim - number - 1))
            columns = zip(indices.T, weights.T, strict=True)
            x = sum(np.take(x, index, axis=number) * weight.reshape(shape) for index, weight in columns)
        if transform == "tf_crop_and_resize":
            outside[number] = (at < 0) | (at > axis.before - 1)
    for number, lost in outside.items():
        x = np.where(lost.reshape(-1, *[1] * (x.ndim - number - 1)), call.get("extrapolation_value", 0.0), x)
    return x.astype(dtype, copy=False)


def _nearest(call: Call, at: np.ndarray, axis: _Axis) -> np.ndarray:
    if call.opset < 11:
        shrinks = axis.denominator < axis.numerator
        return np.asarray(np.ceil(at) if shrinks else np.floor(at), dtype=np.int64)
    how = call.get("nearest_mode", "round_prefer_floor")
    if how == "round_prefer_floor":
        return np.asarray(np.ceil(at - 0.5), dtype=np.int64)
    if how == "round_prefer_ceil":
        return np.asarray(np.floor(at + 0.5), dtype=np.int64)
    return np.asarray(np.floor(at) if how == "floor" else np.ceil(at), dtype=np.int64)


def _taps(call: Call, at: np.ndarray, axis: _Axis, mode: str) -> tuple[np.ndarray, np.ndarray]:
    """The elements each output is made of, and their weights."""
    smooth = call.flag("antialias")
    shrink = min(1.0, axis.denominator / axis.numerator) if smooth else 1.0
    reach = math.ceil((1 if mode == "linear" else 2) / shrink)
    indices = np.floor(at).astype(np.int64)[:, None] + np.arange(1 - reach, reach + 1)
    apart = (indices - at[:, None]) * shrink
    weights = _linear(apart) if mode == "linear" else _cubic(apart, call.get("cubic_coeff_a", -0.75))
    if call.flag("exclude_outside") and (smooth or mode == "cubic"):
        weights = np.where((indices < 0) | (indices >= axis.before), 0, weights)
    if smooth or call.flag("exclude_outside"):
        weights = weights / weights.sum(axis=1, keepdims=True)
    return np.clip(indices, 0, axis.before - 1), weights


def _linear(apart: np.ndarray) -> np.ndarray:
    return np.asarray(np.maximum(0, 1 - np.abs(apart)))


def _cubic(apart: np.ndarray, a: float) -> np.ndarray:
    x = np.abs(apart)
    near = ((a + 2) * x - (a + 3)) * x * x + 1
    far = ((a * x - 5 * a) * x + 8 * a) * x - 4 * a
    return np.where(x <= 1, near, np.where(x < 2, far, 0))


def grid_sample(call: Call, x: np.ndarray, grid: np.ndarray) -> np.ndarray:
    """GridSample in any number of dimensions."""
    mode = {"bilinear": "linear", "bicubic": "cubic"}.get(call.get("mode", "linear"), call.get("mode", "linear"))
    border, corners = call.get("padding_mode", "zeros"), call.flag("align_corners")
    size = x.shape[2:]
    points = grid[..., ::-1].reshape(grid.shape[0], -1, len(size))
    at = [_denormalised(points[..., axis], length, corners) for axis, length in enumerate(size)]
    if mode != "cubic":
        at = [_inside(values, length, border, corners) for values, length in zip(at, size, strict=True)]
    per_axis = []
    for values in at:
        if mode == "nearest":
            per_axis.append([(np.rint(values), np.ones_like(values))])
        else:
            low = np.floor(values)
            near = (0, 1) if mode == "linear" else (-1, 0, 1, 2)
            moved = [low + step for step in near]
            per_axis.append(
                [(m, _linear(m - values) if mode == "linear" else _cubic(m - values, -0.75)) for m in moved]
            )
    flat = x.reshape(*x.shape[:2], -1)
    y = np.zeros((*x.shape[:2], points.shape[1]))
    for combination in itertools.product(*per_axis):
        index = np.zeros(points.shape[:2], dtype=np.int64)
        weight = np.ones(points.shape[:2])
        for (place, share), length in zip(combination, size, strict=True):
            where = _inside(place, length, border, corners) if mode == "cubic" else place
            where = np.nan_to_num(where, nan=-1.0, posinf=-1.0, neginf=-1.0)
            valid = (where >= 0) & (where <= length - 1)
            weight = np.where(valid, weight * share, 0)
            index = index * length + np.where(valid, where, 0).astype(np.int64)
        y += np.take_along_axis(flat, index[:, None], axis=2) * weight[:, None]
    return y.reshape(*x.shape[:2], *grid.shape[1:-1])


def _denormalised(values: np.ndarray, length: int, corners: bool) -> np.ndarray:
    return np.asarray((values + 1) / 2 * (length - 1) if corners else ((values + 1) * length - 1) / 2)


def _inside(at: np.ndarray, length: int, border: str, corners: bool) -> np.ndarray:
    if border == "zeros":
        return at
    if border == "reflection":
        low, span = (0.0, length - 1.0) if corners else (-0.5, float(length))
        if not span:
            return np.zeros_like(at)
        turned = np.mod(at - low, 2 * span)
        at = low + np.where(turned > span, 2 * span - turned, turned)
    return np.asarray(np.clip(at, 0, length - 1))


def affine_grid(call: Call, theta: np.ndarray, size: np.ndarray) -> np.ndarray:
    """AffineGrid."""
    lengths = [int(length) for length in size[2:]]
    axes = [_base(length, call.flag("align_corners")) for length in lengths]
    mesh = np.meshgrid(*axes, indexing="ij")
    points = np.stack([*mesh[::-1], np.ones(lengths)], axis=-1)
    grid = points.reshape(1, -1, len(lengths) + 1) @ theta.swapaxes(1, 2)
    return np.asarray(grid).reshape(theta.shape[0], *lengths, len(lengths))


def _base(length: int, corners: bool) -> np.ndarray:
    if corners:
        return np.linspace(-1, 1, length) if length > 1 else np.zeros(1)
    return (np.arange(length) * 2 + 1) / length - 1


def roi_align(call: Call, x: np.ndarray, rois: np.ndarray, batch: np.ndarray) -> np.ndarray:
    """RoiAlign."""
    height, width = call.get("output_height", 1), call.get("output_width", 1)
    ratio, scale = call.get("sampling_ratio", 0), call.get("spatial_scale", 1.0)
    aligned = call.opset >= 16 and call.get("coordinate_transformation_mode", "half_pixel") == "half_pixel"
    y = np.zeros((len(rois), x.shape[1], height, width))
    for number, (roi, image) in enumerate(zip(rois * scale - (0.5 if aligned else 0.0), batch, strict=True)):
        extents = [roi[3] - roi[1], roi[2] - roi[0]]
        if not aligned:
            extents = [max(extent, 1.0) for extent in extents]
        sides = zip(extents, (roi[1], roi[0]), (height, width), x.shape[2:], strict=True)
        rows, columns = (_roi_weights(start, extent, bins, ratio, size) for extent, start, bins, size in sides)
        y[number] = _pooled(x[int(image)], rows, columns, call.get("mode", "avg"))
    return y


def _roi_weights(
    start: float, extent: float, bins: int, ratio: int, size: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Per bin and sample: the two neighbours and the share of the second; share NaN where nothing is sampled."""
    count = ratio or max(1, math.ceil(extent / bins))
    step = extent / bins
    at = start + (np.arange(bins)[:, None] + (np.arange(count) + 0.5) / count) * step
    outside = (at < -1) | (at > size)
    at = np.clip(at, 0, size - 1)
    low = np.minimum(np.floor(at).astype(np.int64), size - 1)
    return low, np.minimum(low + 1, size - 1), np.where(outside, np.nan, at - low)


def _pooled(image: np.ndarray, rows: Sequence[np.ndarray], columns: Sequence[np.ndarray], mode: str) -> np.ndarray:
    (top, bottom, down), (left, right, along) = rows, columns
    terms = []
    for row, share in ((top, 1 - down), (bottom, down)):
        for column, part in ((left, 1 - along), (right, along)):
            weight = np.nan_to_num(share[:, :, None, None] * part[None, None])
            terms.append(image[:, row[:, :, None, None], column[None, None]] * weight)
    if mode == "max":
        return np.asarray(np.maximum.reduce(terms).max(axis=(2, 4)))
    return np.asarray(sum(terms).mean(axis=(2, 4)))
