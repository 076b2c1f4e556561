"""How a check ends, and what it has to say."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pytest_onnxprep.spec.visible import visible


class Verdict(enum.Enum):
    """``FAIL``: the model misses its requirement. ``ERROR``: the test or the environment is broken."""

    PASS = "pass"  # noqa: S105  # a verdict, no password
    FAIL = "fail"
    INCONCLUSIVE = "inconclusive"
    SKIP = "skip"
    ERROR = "error"


@dataclass(frozen=True)
class CheckResult:
    """What one check found.

    Args:
        verdict: the outcome.
        summary: one line a person can act on.
        figures: JSON-able measurements (``max_abs``, ``p95_ms``, ``mb``, ...).
        details: the full text for a failure report; empty when the summary says it all.
        sections: extra titled texts for the report (converter output, environment).
    """

    verdict: Verdict
    summary: str
    figures: Mapping[str, Any] = field(default_factory=dict)
    details: str = ""
    sections: tuple[tuple[str, str], ...] = ()

    def __post_init__(self) -> None:
        """Names in the texts may come from a file: control characters are written out."""
        object.__setattr__(self, "summary", visible(self.summary))
        object.__setattr__(self, "details", visible(self.details))
        sections = tuple((visible(title), visible(text)) for title, text in self.sections)
        object.__setattr__(self, "sections", sections)

    @property
    def message(self) -> str:
        """The text a failing item shows."""
        return self.details or self.summary
