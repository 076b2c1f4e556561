"""Every error a user can meet.

`OnnxPrepError` is a broken test or environment (verdict ``error``); `Finding` is a model that misses its requirement
(verdict ``fail``). The two never look alike.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, ParamSpec, Self, TypeVar

from pytest_onnxprep.spec.errors import SpecError, closest
from pytest_onnxprep.spec.visible import visible

if TYPE_CHECKING:
    from pytest_onnxprep.spec.verdict import CheckResult


class OnnxPrepError(Exception):
    """Base of everything that is wrong with a test or its environment."""

    def __str__(self) -> str:
        """What went wrong; names in it may come from a file, and are shown without control characters."""
        return visible(super().__str__())


class SourceError(OnnxPrepError):
    """The model cannot be had: missing framework or file, a factory that raises, an object nobody recognises."""


class ReferenceUnavailable(SourceError):
    """What runs the model is another program, and it is not installed: the items of the test are skipped."""


class ExporterError(OnnxPrepError):
    """No such exporter, or one that does not take this source, opset or option."""


class CacheError(OnnxPrepError):
    """The export cache cannot be written or read."""


class BaselineError(OnnxPrepError):
    """A baseline cannot be written, or what is there cannot be used."""


class ReferenceRefused(Exception):
    """The framework itself refuses an input: a size or value outside what the model takes."""


class Finding(AssertionError):
    """A check's negative result. ``result`` holds the verdict, the figures and the whole message."""

    def __init__(self, result: CheckResult) -> None:
        super().__init__(result.message)
        self.result = result

    @classmethod
    def fail(cls, summary: str, details: str = "", sections: tuple[tuple[str, str], ...] = ()) -> Self:
        """A finding with nothing but words."""
        from pytest_onnxprep.spec.verdict import CheckResult, Verdict  # collection needs none of it

        return cls(CheckResult(Verdict.FAIL, summary, details=details, sections=sections))


class ExportFailed(Finding):
    """The exporter raised, or wrote a file that does not load."""


class ContractViolation(Finding):
    """The exported file is valid but not what was declared: names, dtypes, ranks, dims, opset or domains."""


class ParityError(Finding):
    """ONNX Runtime and the framework disagree."""


class LatencyBudgetExceeded(Finding):
    """A latency percentile is over its budget."""


class SizeBudgetExceeded(Finding):
    """The file, its weights or its graph are larger than budgeted."""


class OperatorsNotAccepted(Finding):
    """The graph holds operators, domains or an opset that the target's runtime does not take."""


class DoesNotFit(Finding):
    """The model asks more of a device than its profile offers."""


class MemoryBudgetExceeded(Finding):
    """A fresh process with the model holds more memory than budgeted."""


class StartupBudgetExceeded(Finding):
    """Loading the model, or its first run, takes longer than budgeted."""


class ThroughputTooLow(Finding):
    """Fewer items per second than demanded."""


class AccuracyBudgetMissed(Finding):
    """The ONNX model is not good enough at its task, or too much worse than the framework's."""


class Inconclusive(Finding):
    """A check could not tell, under ``--onnxprep-on-inconclusive=fail``."""


P = ParamSpec("P")
R = TypeVar("R")


def own_frames_hidden(function: Callable[P, R]) -> Callable[P, R]:
    """Let what this package raises on purpose end at the caller's own line: our frames would only hide it."""

    @functools.wraps(function)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> R:
        __tracebackhide__ = True
        try:
            return function(*args, **kwargs)
        except (Finding, OnnxPrepError, SpecError) as error:
            raise error.with_traceback(None) from None

    return wrapper


__all__ = [
    "AccuracyBudgetMissed",
    "BaselineError",
    "CacheError",
    "ContractViolation",
    "DoesNotFit",
    "ExportFailed",
    "ExporterError",
    "Finding",
    "Inconclusive",
    "LatencyBudgetExceeded",
    "MemoryBudgetExceeded",
    "OnnxPrepError",
    "OperatorsNotAccepted",
    "ParityError",
    "ReferenceRefused",
    "ReferenceUnavailable",
    "SizeBudgetExceeded",
    "SourceError",
    "SpecError",
    "StartupBudgetExceeded",
    "ThroughputTooLow",
    "closest",
    "own_frames_hidden",
]
