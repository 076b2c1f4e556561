"""The arguments of ``accuracy_budget``, read once into plain data."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pytest_onnxprep.spec.errors import SpecError, closest

#: Metrics by name; of those in `ERRORS` less is better.
METRICS = ("top1", "top5", "f1", "mae", "mse", "rmse")
ERRORS = frozenset({"mae", "mse", "rmse"})


@dataclass(frozen=True)
class AccuracyRequest:
    """``accuracy_budget``: how good the ONNX model must be at its task, and how much worse than the framework's.

    Args:
        metric: a name, or ``f(outputs, labels) -> float``.
        dataset: a factory of ``(feeds, labels)`` pairs, or an ``.npz`` file.
        minimum: the least score that is good enough; of an error the largest.
        max_drop: how much worse than the framework's the score may be.
    """

    metric: str | Callable[[Any, Any], float]
    dataset: Any
    minimum: float | None = None
    max_drop: float | None = None

    @property
    def name(self) -> str:
        """The metric's name."""
        return self.metric if isinstance(self.metric, str) else getattr(self.metric, "__name__", "metric")

    @property
    def is_error(self) -> bool:
        """Whether less is better."""
        return self.metric in ERRORS


def read_accuracy(
    metric: Any = "top1", minimum: Any = None, dataset: Any = None, max_drop: Any = None
) -> AccuracyRequest:
    """Read the arguments of ``accuracy_budget``.

    Raises:
        SpecError: anything malformed, with what is accepted.
    """
    if isinstance(metric, str):
        if metric not in METRICS:
            raise SpecError(
                f"unknown metric {metric!r}{closest(metric, METRICS)} Accepted: {', '.join(METRICS)}, or "
                "f(outputs, labels) -> float"
            )
    elif not callable(metric):
        raise SpecError(f"metric must be one of {', '.join(METRICS)}, or f(outputs, labels) -> float, not {metric!r}")
    if dataset is None:
        raise SpecError("dataset is missing; accepted: a factory of (feeds, labels) pairs, or an .npz file")
    if not callable(dataset) and not isinstance(dataset, (str, os.PathLike)):
        raise SpecError(f"dataset must be a factory of (feeds, labels) pairs, or an .npz file, not {dataset!r}")
    if minimum is None and max_drop is None:
        raise SpecError("no budget given; accepted: minimum (a score), max_drop (how much worse than the framework's)")
    if minimum is not None:
        _check_number("minimum", minimum)
    if max_drop is not None:
        _check_number("max_drop", max_drop)
        if max_drop < 0:
            raise SpecError(f"max_drop must be a number >= 0, not {max_drop!r}")
    return AccuracyRequest(metric, dataset, minimum, max_drop)


def _check_number(name: str, value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise SpecError(f"{name} must be a finite number, not {value!r}")
