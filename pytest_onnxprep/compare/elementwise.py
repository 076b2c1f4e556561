"""One output against its reference: dtype and shape exact, integers exact, floats by tolerance, NaN only where NaN.

The rule per float element is numpy's, ``|actual - expected| <= atol + rtol * |expected|``; infinities must agree in
sign. (torch's ``verify=True``, for one, lets NaN pass for a number and broadcasts shapes.)
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from pytest_onnxprep.spec.tolerance import EPSILON, Tolerance


@dataclass(slots=True)
class Difference:
    """How far one output is from its reference.

    Attributes:
        output: its name.
        kind: ``match``, ``values``, ``dtype``, ``shape``, ``missing`` or ``nan``.
        what: a short phrase for messages; empty for a match.
        max_abs: largest finite absolute error (0 for an exact match).
        atol: resolved absolute tolerance.
        rtol: resolved relative tolerance.
        index: element with the largest excess over the tolerance, or None.
        expected: reference value there.
        actual: ONNX Runtime's value there.
        wrong: number of elements outside the tolerance.
        total: number of elements.
        tightest_atol: smallest ``atol`` that passes with ``rtol`` as it is; None where none does.
        tightest_rtol: smallest ``rtol`` that passes with ``atol`` as it is; None where none does.
        scale: largest finite magnitude of a float reference; 0 where it was not needed.
        dtype: of the reference.
    """

    output: str
    kind: str
    what: str = ""
    max_abs: float = 0.0
    atol: float = 0.0
    rtol: float = 0.0
    index: tuple[int, ...] | None = None
    expected: object = None
    actual: object = None
    wrong: int = 0
    total: int = 0
    tightest_atol: float | None = None
    tightest_rtol: float | None = None
    scale: float = 0.0
    dtype: str = ""

    @property
    def matches(self) -> bool:
        """Whether the output is within its tolerance."""
        return self.kind == "match"


def compare(output: str, expected: np.ndarray, actual: np.ndarray, tolerance: Tolerance) -> Difference:
    """Compare one output.

    Args:
        output: name, for the report.
        expected: reference array.
        actual: ONNX Runtime's array, same dtype and shape when all is well.
        tolerance: explicit or derived.
    """
    if expected.dtype != actual.dtype and not (_is_text(expected) and _is_text(actual)):
        return Difference(output, "dtype", f"dtype is {actual.dtype}, the framework's is {expected.dtype}")
    if expected.shape != actual.shape:
        return Difference(output, "shape", f"shape is {list(actual.shape)}, the framework's is {list(expected.shape)}")
    dtype = dtype_name(expected.dtype)
    if dtype in EPSILON:
        return _compare_floats(output, dtype, expected, actual, tolerance)
    return _compare_exactly(output, expected, actual)


@functools.cache
def dtype_name(dtype: np.dtype[Any]) -> str:
    """``dtype.name``, which numpy puts together anew each time."""
    return dtype.name


def _is_text(array: np.ndarray) -> bool:
    return array.dtype.kind in "OSU"


def _compare_exactly(output: str, expected: np.ndarray, actual: np.ndarray) -> Difference:
    if _is_text(expected):
        expected, actual = _as_text(expected), _as_text(actual)
    differs = np.asarray(expected != actual)
    wrong = int(np.count_nonzero(differs))
    if not wrong:
        return Difference(output, "match", total=expected.size)
    index = np.unravel_index(int(np.argmax(differs)), differs.shape)
    position = tuple(int(i) for i in index)
    largest = 0.0
    if expected.dtype.kind in "iu":  # through Python integers: uint64 and int64 differences overflow
        worst = np.argmax(np.abs(expected.astype(np.float64) - actual.astype(np.float64)))
        position = (
            tuple(int(i) for i in np.unravel_index(int(worst), differs.shape)) if differs.flat[worst] else position
        )
        largest = float(abs(int(expected[position]) - int(actual[position])))
    return Difference(
        output,
        "values",
        "differs (compared exactly)",
        max_abs=largest,
        index=position,
        expected=_scalar(expected[position]),
        actual=_scalar(actual[position]),
        wrong=wrong,
        total=expected.size,
        dtype=expected.dtype.name,
    )


def _compare_floats(
    output: str, dtype: str, expected: np.ndarray, actual: np.ndarray, tolerance: Tolerance
) -> Difference:
    if not expected.size:
        return Difference(output, "match")
    # The common case first, in the arrays' own width and without a mask: NaN and infinities fail the comparison.
    with np.errstate(invalid="ignore", over="ignore"):
        largest = float(np.abs(np.subtract(actual, expected)).max())
        scale = 0.0
        if tolerance.is_derived:
            scale = float(np.abs(expected).max())
            scale = scale if math.isfinite(scale) else finite_scale(expected)
        atol, rtol = tolerance.resolve(dtype, scale)
        if largest <= atol:
            return Difference(output, "match", "", largest, atol, rtol, total=expected.size, scale=scale, dtype=dtype)
        scale = scale or finite_scale(expected)
        return _judge(output, dtype, expected.astype(np.float64), actual.astype(np.float64), atol, rtol, scale)


def finite_scale(array: np.ndarray) -> float:
    """Largest finite magnitude; 0 where there is none."""
    finite = np.abs(array[np.isfinite(array)])
    return float(finite.max()) if finite.size else 0.0


def _judge(
    output: str, dtype: str, expected: np.ndarray, actual: np.ndarray, atol: float, rtol: float, scale: float
) -> Difference:
    """The full rule, in float64."""
    special = ~(np.isfinite(expected) & np.isfinite(actual))
    agrees = (np.isnan(expected) & np.isnan(actual)) | (expected == actual)
    clash = special & ~agrees
    error = np.where(special, 0.0, np.abs(actual - expected))
    magnitude = np.where(special, 0.0, np.abs(expected))
    excess = error - (atol + rtol * magnitude)
    outside = (excess > 0) & ~special
    wrong = int(np.count_nonzero(outside | clash))
    largest = float(error.max())
    if not wrong:
        return Difference(output, "match", "", largest, atol, rtol, total=expected.size, scale=scale, dtype=dtype)
    worst = int(np.argmax(clash)) if clash.any() else int(np.argmax(excess))
    index = tuple(int(i) for i in np.unravel_index(worst, expected.shape))
    needed_atol, needed_rtol = _tightest(error, magnitude, atol, rtol)
    return Difference(
        output,
        "nan" if clash.any() else "values",
        _clash_text(expected[index], actual[index]) if clash.any() else "differs",
        max_abs=largest,
        atol=atol,
        rtol=rtol,
        index=index,
        expected=float(expected[index]),
        actual=float(actual[index]),
        wrong=wrong,
        total=expected.size,
        tightest_atol=None if clash.any() else needed_atol,
        tightest_rtol=None if clash.any() else needed_rtol,
        scale=scale,
        dtype=dtype,
    )


def _tightest(error: np.ndarray, magnitude: np.ndarray, atol: float, rtol: float) -> tuple[float, float | None]:
    needed_atol = float(np.max(error - rtol * magnitude))
    over = error > atol
    if np.any(over & (magnitude == 0)):
        return needed_atol, None
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        needed_rtol = float(np.max(np.where(over, (error - atol) / magnitude, 0.0)))
    return needed_atol, needed_rtol if np.isfinite(needed_rtol) else None  # a subnormal reference: as good as zero


def _clash_text(expected: float, actual: float) -> str:
    return f"is {_special_name(actual)} where the framework has {_special_name(expected)}"


def _special_name(value: float) -> str:
    if np.isnan(value):
        return "NaN"
    return f"{value:+}" if np.isinf(value) else f"{value:.6g}"


def _as_text(array: np.ndarray) -> np.ndarray:
    """Strings come as bytes from TensorFlow and as str from ONNX Runtime."""
    flat = [item.decode() if isinstance(item, bytes) else str(item) for item in array.reshape(-1).tolist()]
    return np.array(flat, dtype=object).reshape(array.shape)


def _scalar(value: object) -> object:
    return value.item() if isinstance(value, np.generic) else value
