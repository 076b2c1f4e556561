"""``max_regression``, ``min_speedup`` and ``against`` of ``latency_budget``, read once into plain data."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from pytest_onnxprep.spec.errors import SpecError, closest

#: The other side of a comparison that is neither a variant nor a file.
BASELINE = "baseline"
FRAMEWORK = "framework"
#: Two copies of one model differ by up to half a per cent within a process: a smaller margin could never pass.
SMALLEST_REGRESSION = 0.01

_NUMBER = re.compile(r"\s*([+-]?\d+(?:\.\d*)?|[+-]?\.\d+)\s*(%|x)?\s*", re.IGNORECASE)


@dataclass(frozen=True)
class Comparison:
    """One requirement on the ratio of two latencies, measured side by side.

    Args:
        name: ``max_regression`` or ``min_speedup``.
        value: 0.05 for "at most 5 % slower"; 1.5 for "at least 1.5 times as fast".
        against: ``"baseline"``, ``"framework"``, the id of another variant, or the path of an ONNX file.
    """

    name: str
    value: float
    against: str

    @property
    def limit(self) -> float:
        """The largest ratio of this model's time to the other's that meets the requirement."""
        return 1 + self.value if self.name == "max_regression" else 1 / self.value

    @property
    def is_file(self) -> bool:
        """Whether the other side is a file."""
        return self.against.lower().endswith(".onnx")

    def __str__(self) -> str:
        """As a person would write it: ``max_regression 5 %``, ``min_speedup 1.5``."""
        return f"{self.name} {100 * self.value:g} %" if self.name == "max_regression" else f"{self.name} {self.value:g}"


def read_comparisons(max_regression: Any, min_speedup: Any, against: Any) -> tuple[Comparison, ...]:
    """Read the three arguments.

    ``against`` is what ``min_speedup`` compares with; without ``min_speedup``, what ``max_regression`` does.

    Raises:
        SpecError: anything malformed, with what is accepted.
    """
    other = _read_against(against)
    if other is not None and max_regression is None and min_speedup is None:
        raise SpecError(
            f"against={against!r} says what to compare with; give min_speedup=1.5 or max_regression='5%' too"
        )
    found = []
    if max_regression is not None:
        rival = other if min_speedup is None else None
        found.append(Comparison("max_regression", _read_regression(max_regression), rival or BASELINE))
    if min_speedup is not None:
        if other is None:
            raise SpecError(
                "min_speedup needs against='framework', 'baseline', another variant such as 'torchscript-opset17', "
                "or the path of an .onnx file"
            )
        found.append(Comparison("min_speedup", _read_speedup(min_speedup), other))
    return tuple(found)


def wrong_rival(comparisons: Iterable[Comparison], variants: Sequence[str]) -> str:
    """What is wrong with ``against=``, given the ids of the test's variants; empty if nothing is."""
    for comparison in comparisons:
        name = comparison.against
        if name in (BASELINE, FRAMEWORK) or comparison.is_file or name in variants:
            continue
        known = [FRAMEWORK, BASELINE, *variants]
        listed = ", ".join([*known, "the path of an .onnx file"])
        return f"against={name!r} is no variant of this test{closest(name, known)} Accepted: {listed}."
    return ""


def _read_regression(value: Any) -> float:
    accepted = "accepted: a share such as '5%' or 0.05"
    number, unit = _number("max_regression", value, accepted)
    if unit == "x":
        raise SpecError(f"max_regression must be a share, not {value!r}; {accepted}")
    share = number / 100 if unit == "%" else number
    if share >= 1 and not unit:
        raise SpecError(
            f"max_regression={value!r} would allow {100 * share:g} % more; write '{number:g}%' or {number / 100:g}"
        )
    if share < SMALLEST_REGRESSION:
        raise SpecError(
            f"max_regression must be at least 1 %, not {value!r}: equal models already differ by up to half a per cent"
        )
    return share


def _read_speedup(value: Any) -> float:
    accepted = "accepted: a factor such as 1.5 or '1.5x'"
    number, unit = _number("min_speedup", value, accepted)
    if unit == "%":
        raise SpecError(f"min_speedup must be a factor, not {value!r}; {accepted} ('50 % faster' is 1.5)")
    if number <= 0:
        raise SpecError(f"min_speedup must be positive, not {value!r}; {accepted}")
    return number


def _number(name: str, value: Any, accepted: str) -> tuple[float, str]:
    if isinstance(value, str):
        match = _NUMBER.fullmatch(value)
        if match:
            return float(match[1]), (match[2] or "").lower()
    elif isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value):
        return float(value), ""
    raise SpecError(f"{name}={value!r} is no number; {accepted}")


def _read_against(value: Any) -> str | None:
    if value is None:
        return None
    if hasattr(value, "__fspath__"):
        value = str(value.__fspath__())
    if not isinstance(value, str) or not value.strip():
        raise SpecError(
            f"against must be 'framework', 'baseline', a variant such as 'torchscript-opset17' or the path of an "
            f".onnx file, not {value!r}"
        )
    return value
