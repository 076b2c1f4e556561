"""Is a difference more than rounding? Judged by the reference in float64 where it runs there, else by the dtype."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

#: Multiples of the reference's own rounding error, and of the spacing of the dtype at the largest value of the output.
OF_OWN_ERROR = 64
OF_SPACING = 256
OF_SPACING_ALONE = 2048
#: A bug's witness has to be this many times beyond what a twin is allowed.
FAR = 4


@dataclass(frozen=True)
class Judgement:
    """What was seen on one input.

    Attributes:
        ratio: the largest error by what rounding allows; infinite where no rounding explains it.
        what: in words, where something is wrong.
        discrete: only integers or booleans differ, and nothing else.
    """

    ratio: float
    what: str = ""
    discrete: bool = False


def judge(
    expected: Sequence[np.ndarray], actual: Sequence[np.ndarray], wide: Sequence[np.ndarray] | None = None
) -> Judgement:
    """Compare all outputs of one input.

    Args:
        expected: of the reference.
        actual: of the file under test.
        wide: of the reference in float64.
    """
    if len(expected) != len(actual):
        return Judgement(np.inf, f"{len(actual)} outputs for {len(expected)}")
    worst = Judgement(0.0)
    for index, (want, got) in enumerate(zip(expected, actual, strict=True)):
        other = wide[index] if wide is not None and len(wide) == len(expected) else None
        found = _judge_one(want, np.asarray(got), other)
        if found.ratio > worst.ratio or (found.ratio == worst.ratio and worst.discrete and not found.discrete):
            worst = Judgement(found.ratio, f"output {index}: {found.what}", found.discrete)
    return worst


def _judge_one(want: np.ndarray, got: np.ndarray, wide: np.ndarray | None) -> Judgement:
    if want.shape != got.shape:
        return Judgement(np.inf, f"shape {list(got.shape)} for {list(want.shape)}")
    if want.dtype != got.dtype and not (want.dtype.kind in "OUS" and got.dtype.kind in "OUS"):
        return Judgement(np.inf, f"dtype {got.dtype} for {want.dtype}")
    if not want.size:
        return Judgement(0.0)
    if not is_float(want.dtype):
        wrong = int((want != got).sum())
        return Judgement(np.inf if wrong else 0.0, f"{wrong} of {want.size} differ", discrete=True)
    spacing = eps(want.dtype)
    want, got = want.astype(np.float64), got.astype(np.float64)
    finite = np.isfinite(want)
    if not np.array_equal(want[~finite], got[~finite], equal_nan=True) or not np.isfinite(got[finite]).all():
        return Judgement(np.inf, "NaN or infinities in other places")
    if not finite.any():
        return Judgement(0.0)
    return _finite(
        want[finite], got[finite], None if wide is None or wide.shape != finite.shape else wide[finite], spacing
    )


def _finite(want: np.ndarray, got: np.ndarray, wide: np.ndarray | None, spacing: float) -> Judgement:
    scale = float(np.abs(want).max())
    alone = OF_SPACING_ALONE * spacing * scale
    allowed: Any = alone
    if wide is not None and np.isfinite(wide).all():
        own = np.abs(want - wide)
        # An element that float64 rounds to another step, or a bad condition: excused where it happens, not everywhere.
        steps = float(own.max()) > alone
        allowed = (
            np.maximum(OF_OWN_ERROR * own, alone)
            if steps
            else max(OF_OWN_ERROR * float(own.max()), OF_SPACING * spacing * scale)
        )
    ratios = np.abs(got - want) / np.maximum(allowed, 1e-30)
    at = int(ratios.argmax())
    error = float(np.abs(got - want).flat[at])
    limit = float(np.broadcast_to(allowed, want.shape).flat[at])
    return Judgement(
        float(ratios.flat[at]),
        f"differs by {error:.3g} where rounding explains {limit:.3g} (largest value {scale:.3g})",
    )


def is_float(dtype: Any) -> bool:
    """Whether rounding happens in it; bfloat16 is of numpy's kind ``V``."""
    return dtype.kind == "f" or dtype.name == "bfloat16"


def eps(dtype: Any) -> float:
    """The spacing at 1."""
    return 2.0**-7 if dtype.name == "bfloat16" else float(np.finfo(dtype).eps)
