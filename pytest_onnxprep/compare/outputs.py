"""All outputs of one example against the reference."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from pytest_onnxprep.compare.elementwise import Difference, compare
from pytest_onnxprep.compare.metrics import METRICS
from pytest_onnxprep.compare.tasks import TASK_METRICS, task_value
from pytest_onnxprep.spec.tolerance import Tolerance


@dataclass(frozen=True)
class Rule:
    """What one parity requirement asks of the outputs.

    Args:
        tolerance: for every output that has none of its own.
        per_output: output name -> its own tolerance.
        only: outputs to compare; None is all of them.
        minimums: metric name -> smallest value allowed, for every float output. Where one is given and no tolerance
            is, the metric replaces the element-wise comparison of floats; ``within`` always does.
    """

    tolerance: Tolerance = field(default_factory=Tolerance)
    per_output: Mapping[str, Tolerance] = field(default_factory=dict)
    only: tuple[str, ...] | None = None
    minimums: Mapping[str, float] = field(default_factory=dict)

    @property
    def has_derived(self) -> bool:
        """Whether some output has a tolerance without numbers."""
        return any(tolerance.is_derived for tolerance in (self.tolerance, *self.per_output.values()))

    def tolerance_of(self, output: str) -> Tolerance:
        """The tolerance of one output."""
        return self.per_output.get(output, self.tolerance)


@dataclass(frozen=True)
class MetricMiss:
    """A metric below its minimum."""

    output: str
    metric: str
    value: float
    minimum: float


@dataclass(frozen=True)
class Comparison:
    """Every output of one example; ``counts`` is how many things each task metric had to compare."""

    differences: tuple[Difference, ...]
    metrics: Mapping[str, float]
    misses: tuple[MetricMiss, ...]
    counts: Mapping[str, int] = field(default_factory=dict)

    @property
    def passed(self) -> bool:
        """Whether every output is within its tolerance and every metric above its minimum."""
        return not self.misses and all(difference.matches for difference in self.differences)

    @property
    def worst(self) -> Difference:
        """The output to talk about: one that fails before one that matches, then the largest error."""
        return max(self.differences, key=lambda d: (not d.matches, d.kind not in ("values", "match"), d.max_abs))


def compare_outputs(expected: Mapping[str, np.ndarray], actual: Mapping[str, np.ndarray], rule: Rule) -> Comparison:
    """Compare all outputs by name.

    Args:
        expected: the reference's outputs.
        actual: ONNX Runtime's outputs.
        rule: tolerances and metrics.
    """
    differences = []
    metrics: dict[str, float] = {}
    misses: list[MetricMiss] = []
    counts: dict[str, int] = {}
    covered = _judge_tasks(expected, actual, rule, metrics, misses, counts)
    minimums = {metric: value for metric, value in rule.minimums.items() if metric not in TASK_METRICS}
    for name, reference in expected.items():
        if rule.only is not None and name not in rule.only:
            continue
        if name in covered:
            differences.append(Difference(name, "match", total=reference.size))
            continue
        if name not in actual:
            differences.append(Difference(name, "missing", f"is missing; the file has {', '.join(actual) or 'none'}"))
            continue
        difference = compare(name, reference, actual[name], rule.tolerance_of(name))
        comparable = difference.kind not in ("dtype", "shape")
        if minimums and comparable and reference.dtype.kind == "f":
            share = 1 - difference.wrong / difference.total if difference.total else 1.0
            replaced = "within" in minimums or (name not in rule.per_output and rule.tolerance.is_derived)
            if replaced and difference.kind == "values":
                difference = Difference(name, "match", max_abs=difference.max_abs, total=difference.total)
            for metric, minimum in minimums.items():
                value = share if metric == "within" else METRICS[metric](reference, actual[name])
                metrics[metric] = min(value, metrics.get(metric, value))
                if not value >= minimum:  # NaN is a miss
                    misses.append(MetricMiss(name, metric, value, minimum))
        differences.append(difference)
    return Comparison(tuple(differences), metrics, tuple(misses), counts)


def _judge_tasks(
    expected: Mapping[str, np.ndarray],
    actual: Mapping[str, np.ndarray],
    rule: Rule,
    metrics: dict[str, float],
    misses: list[MetricMiss],
    counts: dict[str, int],
) -> set[str]:
    """Compute the task metrics asked for.

    Returns:
        The outputs they speak for, but for those with a tolerance of their own.
    """
    covered: set[str] = set()
    for metric, minimum in rule.minimums.items():
        if metric in TASK_METRICS:
            found = task_value(metric, expected, actual)
            metrics[metric] = min(found.value, metrics.get(metric, found.value))
            counts[metric] = found.count
            covered |= set(found.covered) - rule.per_output.keys()
            if not found.value >= minimum:
                misses.append(MetricMiss(found.output, metric, found.value, minimum))
    return covered
