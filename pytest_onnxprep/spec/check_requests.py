"""The arguments of the checks' marks, read once into plain data."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

from pytest_onnxprep.spec.comparison import Comparison, read_comparisons
from pytest_onnxprep.spec.errors import SpecError, as_tuple, closest
from pytest_onnxprep.spec.tolerance import Tolerance
from pytest_onnxprep.spec.variant import Variant

METRIC_NAMES = ("sqnr_db", "psnr_db", "cosine", "top1", "top5", "within", "iou", "tokens")
#: Metrics that are shares of 1.
_SHARES = ("top1", "top5", "within", "iou", "tokens")


@dataclass(frozen=True)
class ParityRequest:
    """``parity``: how close, on how many examples, against which oracle."""

    atol: float | None = None
    rtol: float | None = None
    max_examples: int | None = None
    oracle: str = "framework"
    special_values: bool = False
    outputs: Mapping[str, Tolerance | None] | None = None
    metrics: Mapping[str, float] = field(default_factory=dict)

    @property
    def tolerance(self) -> Tolerance:
        """The tolerance of outputs that have none of their own."""
        return Tolerance(self.atol, self.rtol)


@dataclass(frozen=True)
class LatencyRequest:
    """``latency_budget``: percentiles in milliseconds and comparisons, at one or several fixed sizes.

    ``duet_time_s`` is ``max_time_s`` where that was given; ``variants`` are those of the test, known at collection.
    """

    budgets: Mapping[str, float]
    at: tuple[Mapping[str, int], ...] = ({},)
    threads: int = 1
    provider: str | None = None
    max_time_s: float = 3.0
    comparisons: tuple[Comparison, ...] = ()
    duet_time_s: float | None = None
    variants: tuple[Variant, ...] = ()


@dataclass(frozen=True)
class SizeRequest:
    """``size_budget``: megabytes (10**6 bytes) of the file with its external data, of its weights, and nodes."""

    mb: float | None = None
    weights_mb: float | None = None
    nodes: int | None = None

    def budgets(self) -> dict[str, float]:
        """The limits that were given."""
        return {f.name: getattr(self, f.name) for f in fields(self) if getattr(self, f.name) is not None}


def read_parity(
    atol: float | None = None,
    rtol: float | None = None,
    *,
    max_examples: int | None = None,
    oracle: str = "framework",
    special_values: bool = False,
    outputs: Any = None,
    metrics: Any = None,
    min_sqnr_db: float | None = None,
    min_top1: float | None = None,
) -> ParityRequest:
    """Read the arguments of ``parity``.

    Raises:
        SpecError: anything malformed, with what is accepted.
    """
    Tolerance(atol, rtol)
    if max_examples is not None:
        _check_count("max_examples", max_examples)
    if oracle not in ("framework", "onnx"):
        raise SpecError(f"oracle must be 'framework' or 'onnx' (the ONNX reference evaluator), not {oracle!r}")
    if not isinstance(special_values, bool):
        raise SpecError(f"special_values must be True or False, not {special_values!r}")
    minimums = _read_metrics(metrics)
    for name, value in (("sqnr_db", min_sqnr_db), ("top1", min_top1)):
        if value is not None:
            minimums[name] = _finite(f"min_{name}", value)
    for name in _SHARES:
        if not 0 <= minimums.get(name, 0) <= 1:
            raise SpecError(f"{'min_top1' if name == 'top1' else name} is a share in 0..1, not {minimums[name]}")
    return ParityRequest(atol, rtol, max_examples, oracle, special_values, _read_per_output(outputs), minimums)


def _read_metrics(metrics: Any) -> dict[str, float]:
    if metrics is None:
        return {}
    if not isinstance(metrics, Mapping):
        raise SpecError(f"metrics must map names to minimums, as in {{'cosine': 0.999}}, not {metrics!r}")
    for name in metrics:
        if name not in METRIC_NAMES:
            raise SpecError(
                f"unknown metric {name!r}{closest(str(name), METRIC_NAMES)} Accepted: {', '.join(METRIC_NAMES)}."
            )
    return {name: _finite(f"metrics[{name!r}]", value) for name, value in metrics.items()}


def _read_per_output(outputs: Any) -> dict[str, Tolerance | None] | None:
    if outputs is None:
        return None
    if isinstance(outputs, str):
        return {outputs: None}
    if isinstance(outputs, Sequence) and all(isinstance(name, str) for name in outputs):
        return dict.fromkeys(outputs)
    if isinstance(outputs, Mapping):
        return {name: _read_tolerance(name, value) for name, value in outputs.items()}
    raise SpecError(
        f"outputs must be names, or names with tolerances such as {{'boxes': (1e-3, 1e-3)}}, not {outputs!r}"
    )


def _read_tolerance(name: str, value: Any) -> Tolerance | None:
    if value is None or isinstance(value, Tolerance):
        return value
    try:
        if isinstance(value, Mapping):
            return Tolerance(**value)
        if isinstance(value, (tuple, list)) and len(value) == 2:
            return Tolerance(*value)
        if isinstance(value, (int, float)):
            return Tolerance(atol=value)
    except (SpecError, TypeError) as error:
        raise SpecError(f"outputs[{name!r}]: {error}") from None
    raise SpecError(f"outputs[{name!r}] must be atol, (atol, rtol) or {{'atol': ..., 'rtol': ...}}, not {value!r}")


def read_latency(
    p50_ms: float | None = None,
    p90_ms: float | None = None,
    p95_ms: float | None = None,
    p99_ms: float | None = None,
    mean_ms: float | None = None,
    *,
    at: Any = None,
    threads: int = 1,
    provider: str | None = None,
    max_time_s: float | None = None,
    max_regression: Any = None,
    min_speedup: Any = None,
    against: Any = None,
) -> LatencyRequest:
    """Read the arguments of ``latency_budget``.

    Raises:
        SpecError: anything malformed, with what is accepted.
    """
    comparisons = read_comparisons(max_regression, min_speedup, against)
    given = {"p50_ms": p50_ms, "p90_ms": p90_ms, "p95_ms": p95_ms, "p99_ms": p99_ms, "mean_ms": mean_ms}
    budgets = {name: _positive(name, value) for name, value in given.items() if value is not None}
    if not budgets and not comparisons:
        raise SpecError(
            "no budget given; accepted: p50_ms, p90_ms, p95_ms, p99_ms, mean_ms (milliseconds), max_regression ('5%'), "
            "min_speedup with against"
        )
    ordered = [budgets[name] for name in ("p50_ms", "p90_ms", "p95_ms", "p99_ms") if name in budgets]
    if ordered != sorted(ordered):
        raise SpecError(f"a higher percentile cannot have the smaller budget: {budgets}")
    _check_count("threads", threads)
    if provider is not None and not isinstance(provider, str):
        raise SpecError(f"provider must be an execution provider's name such as 'cpu', not {provider!r}")
    limit = 3.0 if max_time_s is None else _positive("max_time_s", max_time_s)
    duet_time_s = None if max_time_s is None else limit
    return LatencyRequest(budgets, _read_at(at), threads, provider, limit, comparisons, duet_time_s)


def _read_at(at: Any) -> tuple[Mapping[str, int], ...]:
    if at is None:
        return ({},)
    found = as_tuple(at)
    for sizes in found:
        if not isinstance(sizes, Mapping) or not sizes:
            raise SpecError(f"at must map dims to sizes, as in {{'batch': 1}}, or be a list of such, not {sizes!r}")
        for name, size in sizes.items():
            if isinstance(size, bool) or not isinstance(size, int) or size < 0:
                raise SpecError(f"at: {name} must be a size, not {size!r}")
    if not found:
        raise SpecError("at: the list of sizes is empty")
    return found


def read_size(mb: float | None = None, weights_mb: float | None = None, nodes: int | None = None) -> SizeRequest:
    """Read the arguments of ``size_budget``.

    Raises:
        SpecError: anything malformed, with what is accepted.
    """
    if mb is None and weights_mb is None and nodes is None:
        raise SpecError("no budget given; accepted: mb, weights_mb (megabytes of 10**6 bytes), nodes (a count)")
    if nodes is not None:
        _check_count("nodes", nodes)
    return SizeRequest(
        None if mb is None else _positive("mb", mb),
        None if weights_mb is None else _positive("weights_mb", weights_mb),
        nodes,
    )


def _finite(name: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise SpecError(f"{name} must be a finite number, not {value!r}")
    return float(value)


def _positive(name: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value) or value <= 0:
        raise SpecError(f"{name} must be a positive number, not {value!r}")
    return float(value)


def _check_count(name: str, value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise SpecError(f"{name} must be a whole number >= 1, not {value!r}")
