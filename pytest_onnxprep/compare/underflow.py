"""Numbers below the smallest normal one: processors and compilers may take them for zero, as XLA does."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from pytest_onnxprep.compare.elementwise import compare
from pytest_onnxprep.spec.tolerance import EPSILON, Tolerance

Arrays = Mapping[str, np.ndarray]


def without_denormals(feeds: Arrays) -> dict[str, np.ndarray] | None:
    """The inputs with zeros for their denormal numbers, signs kept; None where there are none."""
    flushed = dict(feeds)
    for name, array in feeds.items():
        if array.dtype.kind == "f" and array.dtype.name in EPSILON:
            tiny = np.abs(array) < np.finfo(array.dtype).tiny
            if (tiny & (array != 0)).any():
                flushed[name] = np.where(tiny, np.copysign(np.zeros_like(array), array), array)
    return None if all(flushed[name] is feeds[name] for name in feeds) else flushed


def is_underflow(
    feeds: Arrays,
    name: str,
    reference: np.ndarray,
    value: np.ndarray,
    framework: Callable[[Arrays], Arrays],
    file: Callable[[Arrays], Arrays],
    tolerance: Tolerance,
) -> bool:
    """Whether two outputs differ because only one side takes denormal inputs for zero.

    Then that side says the same with zeros in their place, and there the two agree.

    Args:
        feeds: the inputs.
        name: of the output.
        reference: the framework's.
        value: the file's.
        framework: asks the framework.
        file: runs the file.
        tolerance: of the output.

    Raises:
        ReferenceRefused: the framework does not take the zeros.
    """
    flushed = without_denormals(feeds)
    if flushed is None:
        return False
    expected, actual = framework(flushed)[name], file(flushed)[name]
    same = np.array_equal(expected, reference, equal_nan=True) or np.array_equal(actual, value, equal_nan=True)
    return bool(same) and compare(name, expected, actual, tolerance).matches
