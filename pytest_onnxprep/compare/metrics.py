"""Whole-tensor agreement: what quantised and half-precision models are judged by."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

Metric = Callable[[np.ndarray, np.ndarray], float]


def sqnr_db(expected: np.ndarray, actual: np.ndarray) -> float:
    """Signal to quantisation noise ratio, ``20 log10(|x| / |x - y|)`` in dB; infinite for equal tensors."""
    signal = float(np.linalg.norm(expected.astype(np.float64).reshape(-1)))
    noise = float(np.linalg.norm((expected.astype(np.float64) - actual.astype(np.float64)).reshape(-1)))
    if noise == 0:
        return math.inf
    return 20 * math.log10(signal / noise) if signal and math.isfinite(noise) else -math.inf


def psnr_db(expected: np.ndarray, actual: np.ndarray) -> float:
    """Peak signal to noise ratio in dB; the peak is the reference's range (max - min), as for pictures."""
    wide = expected.astype(np.float64)
    rmse = float(np.sqrt(np.mean((wide - actual.astype(np.float64)) ** 2))) if expected.size else 0.0
    peak = float(np.ptp(wide)) if expected.size else 0.0
    if rmse == 0:
        return math.inf
    return 20 * math.log10(peak / rmse) if peak and math.isfinite(rmse) else -math.inf


def cosine(expected: np.ndarray, actual: np.ndarray) -> float:
    """Cosine similarity of the flattened tensors; two zero tensors agree (1), one does not (0)."""
    x, y = expected.astype(np.float64).reshape(-1), actual.astype(np.float64).reshape(-1)
    norms = float(np.linalg.norm(x) * np.linalg.norm(y))
    if norms == 0:
        return 1.0 if not x.any() and not y.any() else 0.0
    return float(x @ y / norms)


def top1(expected: np.ndarray, actual: np.ndarray) -> float:
    """Share of rows (last axis) whose largest element is at the same place, in 0..1.

    A row whose reference has that element tied with its maximum counts as agreeing.
    """
    if not expected.size or not expected.ndim:
        return 1.0
    chosen = np.argmax(actual, axis=-1)
    picked = np.take_along_axis(expected, chosen[..., None], axis=-1)[..., 0]
    return float(np.mean(picked == expected.max(axis=-1)))


def top5(expected: np.ndarray, actual: np.ndarray) -> float:
    """Share of the reference's five largest elements of each row (last axis) that are among the other's five largest.

    An element as large as the reference's fifth counts as one of them. Rows of fewer than five are taken whole.
    """
    if not expected.size or not expected.ndim:
        return 1.0
    count = min(5, expected.shape[-1])
    chosen = np.argpartition(actual, -count, axis=-1)[..., -count:]
    fifth = np.partition(expected, -count, axis=-1)[..., -count : expected.shape[-1] - count + 1]
    return float(np.mean(np.take_along_axis(expected, chosen, axis=-1) >= fifth))


#: Metrics by the names that ``metrics=`` takes; larger is better for all of them. ``within``, the share of elements
#: within their tolerance, is counted where the tolerance is (`pytest_onnxprep.compare.outputs`).
METRICS: dict[str, Metric] = {
    "sqnr_db": sqnr_db,
    "psnr_db": psnr_db,
    "cosine": cosine,
    "top1": top1,
    "top5": top5,
}
