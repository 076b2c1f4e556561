"""The decorators. Each equals ``pytest.mark.<name>(...)``; arguments are validated when pytest collects the test.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

import functools
import inspect
import os
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ParamSpec

import pytest

from pytest_onnxprep.spec.accuracy_request import read_accuracy
from pytest_onnxprep.spec.check_requests import read_latency, read_parity, read_size
from pytest_onnxprep.spec.export_request import read_export
from pytest_onnxprep.spec.fits_request import read_fits
from pytest_onnxprep.spec.operators_request import read_operators
from pytest_onnxprep.spec.resource_requests import read_memory, read_startup, read_throughput

P = ParamSpec("P")


def _mark(declare: Callable[P, None]) -> Callable[P, pytest.MarkDecorator]:
    """Make a decorator of a signature: the arguments go to the mark exactly as they were written."""
    name = declare.__name__

    @functools.wraps(declare)
    def decorator(*args: P.args, **kwargs: P.kwargs) -> pytest.MarkDecorator:
        mark: pytest.MarkDecorator = getattr(pytest.mark, name)
        if len(args) == 1 and not kwargs and _is_test(args[0]):  # written without parentheses
            decorated: pytest.MarkDecorator = mark(args[0])
            return decorated
        # with_args, because mark(function) would decorate the factory instead of storing it
        return mark.with_args(*args, **kwargs)

    return decorator


def _is_test(value: object) -> bool:
    named = inspect.isfunction(value) or inspect.isclass(value)
    return named and getattr(value, "__name__", "").lower().startswith("test")


@_mark
def onnx_export(
    source: Any = None,
    *,
    inputs: Any = None,
    outputs: Any = None,
    dims: Mapping[str, Any] | None = None,
    generate: Callable[..., Mapping[str, Any]] | None = None,
    samples: Any = None,
    artifact: Any = None,
    shapes: str | None = None,
    buckets: Sequence[Mapping[str, int]] | None = None,
    exporter: str | Sequence[str] | None = None,
    opset: int | Sequence[int] | None = None,
    precision: str | None = None,
    transform: Any = None,
    options: Mapping[str, Any] | Sequence[Mapping[str, Any]] | None = None,
    target: Any = None,
    args: Any = None,
    input_names: Sequence[str] | None = None,
    output_names: Sequence[str] | None = None,
    dynamic_axes: Mapping[str, Any] | None = None,
    opset_version: int | None = None,
) -> None:
    """Export a model to ONNX, once per variant, validate the file and check that it is what was declared.

    Args:
        source: a zero-argument factory, a model, or a path; left out, the fixture ``model`` gives it.
        inputs: name -> ``"dtype[dim, ...]"``, `TensorSpec` or example array; left out where the source knows.
        outputs: names, or name -> ``"dtype[dim, ...]"``; left out, the framework's own names are kept.
        dims: name -> ``(min, max)`` or `Dim`; a named dim without an entry is 1..8.
        generate: ``f(dims, rng) -> {name: array}``, for inputs that belong together.
        samples: the user's own feeds, checked first: a factory, an ``.npz`` file, or a folder of them.
        artifact: an ONNX file made elsewhere, held to the same checks against ``source``.
        shapes: ``dynamic``, or ``fixed``: one file at the example size of every dim.
        buckets: sizes of several files, into which inputs are padded at run time.
        exporter: ``dynamo``, ``torchscript``, ``transformers``, ``tf2onnx``, ``keras``, ``jax2onnx``, ``none``; a list
            makes variants.
        opset: opset of ONNX's default domain; a list makes variants.
        precision: reserved.
        transform: reserved.
        options: keyword arguments for the exporter, and ``domains``: operator domains allowed beside ONNX's own.
        target: a device profile to hold the model to, see ``fits``.
        args: example tensors, as in ``torch.onnx.export`` (so are the following).
        input_names: names of ``args``.
        output_names: names of the outputs.
        dynamic_axes: name -> ``{axis: dim name}`` or axes.
        opset_version: the opset.
    """


@_mark
def parity(
    atol: float | None = None,
    rtol: float | None = None,
    *,
    max_examples: int | None = None,
    oracle: str = "framework",
    special_values: bool = False,
    outputs: Any = None,
    metrics: Mapping[str, float] | None = None,
    min_sqnr_db: float | None = None,
    min_top1: float | None = None,
) -> None:
    """Compare ONNX Runtime with the untouched framework model over fuzzed sizes and values.

    Args:
        atol: absolute tolerance; with ``rtol`` numpy's rule ``|a - b| <= atol + rtol * |b|``.
        rtol: relative tolerance. Neither: a tolerance that follows the dtype and the magnitude of each output.
        max_examples: examples at most, corners included; default ``--onnxprep-examples``.
        oracle: ``framework``, or ``onnx`` for the ONNX reference evaluator.
        special_values: also try NaN, infinities and signed zeros.
        outputs: outputs to compare, or name -> its own tolerance.
        metrics: minimum per metric: ``cosine``, ``sqnr_db``, ``psnr_db``, ``top1``, ``top5``, ``within``. Without atol
            and rtol they replace the element-wise comparison of floats. ``iou`` (boxes found) and ``tokens`` compare
            what a whole answer means.
        min_sqnr_db: short for ``metrics={"sqnr_db": ...}``.
        min_top1: short for ``metrics={"top1": ...}``, a share in 0..1.
    """


@_mark
def latency_budget(
    p50_ms: float | None = None,
    p90_ms: float | None = None,
    p95_ms: float | None = None,
    p99_ms: float | None = None,
    mean_ms: float | None = None,
    *,
    at: Mapping[str, int] | Sequence[Mapping[str, int]] | None = None,
    threads: int = 1,
    provider: str | None = None,
    max_time_s: float | None = None,
    max_regression: str | float | None = None,
    min_speedup: str | float | None = None,
    against: str | os.PathLike[str] | None = None,
) -> None:
    """Hold the latency of ``session.run`` to a budget in milliseconds, or to that of another model timed beside it.

    Args:
        p50_ms: budget of the median.
        p90_ms: budget of the 90th percentile.
        p95_ms: budget of the 95th percentile.
        p99_ms: budget of the 99th percentile.
        mean_ms: budget of the mean.
        at: dim -> size to measure at (smallest size where left out); a list makes an item each.
        threads: intra-op threads of ONNX Runtime.
        provider: execution provider; default ``--onnxprep-provider``.
        max_time_s: sampling time at most, 3 s by default (1 to 4 s for a comparison).
        max_regression: how much slower it may be than the baseline, ``"5%"`` or 0.05.
        min_speedup: how many times as fast as ``against`` it must be, 1.5.
        against: ``"framework"``, ``"baseline"``, another variant such as ``"torchscript-opset17"``, or an ONNX file.
            For ``max_regression`` where there is no ``min_speedup``; its own default is the baseline.
    """


@_mark
def size_budget(mb: float | None = None, weights_mb: float | None = None, nodes: int | None = None) -> None:
    """Hold the file to a size.

    Args:
        mb: megabytes (10**6 bytes) of the ONNX file and its external data.
        weights_mb: megabytes of the initializers.
        nodes: nodes of the graph, subgraphs included.
    """


@_mark
def operators(
    allowed: str | Collection[str] | None = None,
    forbidden: str | Collection[str] | None = None,
    opset_max: int | None = None,
    domains: str | Collection[str] | None = None,
) -> None:
    """Hold the graph to what the target's runtime can run.

    Args:
        allowed: operators the file may consist of: ``"Conv"``, ``"com.microsoft.Gelu"``, patterns like ``"Reduce*"``.
        forbidden: operators it must not have, names and patterns as for ``allowed``.
        opset_max: newest opset of ONNX's own domain.
        domains: operator domains accepted beside ONNX's own, as ``options={"domains": [...]}`` of ``onnx_export``.
    """


@_mark
def fits(
    target: str | os.PathLike[str] | Sequence[str | os.PathLike[str]] | None = None,
    *,
    at: Mapping[str, int] | None = None,
    speed_factor: float | None = None,
) -> None:
    """Hold the model to a device profile: operators, opset, size, memory, start-up, latency.

    Args:
        target: name of a profile, or the path of a TOML file; a list makes an item each. Left out, ``target=`` of
            ``onnx_export`` or ``--onnxprep-target`` gives it.
        at: dim -> size to measure at; left out, the sizes of the latency budget, else those of the export.
        speed_factor: time on the device / time on this machine, as you have measured it; without one times are shown
            and not judged.
    """


@_mark
def memory_budget(
    peak_mb: float | None = None,
    *,
    at: Mapping[str, int] | Sequence[Mapping[str, int]] | None = None,
    model_mb: float | None = None,
    steady_mb: float | None = None,
    threads: int = 1,
    provider: str | None = None,
    children: int = 3,
) -> None:
    """Hold the memory of a fresh process that holds ONNX Runtime and the model only.

    Args:
        peak_mb: megabytes (10**6 bytes) of the whole process at its peak.
        at: dim -> size to measure at (smallest size where left out); a list makes an item each.
        model_mb: megabytes of the peak that were not there before the model was loaded.
        steady_mb: megabytes of the whole process after the runs.
        threads: intra-op threads of ONNX Runtime.
        provider: execution provider; default ``--onnxprep-provider``.
        children: fresh processes whose median is judged, an odd number.
    """


@_mark
def startup_budget(
    load_ms: float | None = None,
    first_run_ms: float | None = None,
    *,
    at: Mapping[str, int] | Sequence[Mapping[str, int]] | None = None,
    threads: int = 1,
    provider: str | None = None,
    max_time_s: float = 30.0,
) -> None:
    """Hold the start of the model in fresh processes to a budget in milliseconds.

    Args:
        load_ms: budget of making the session.
        first_run_ms: budget of the first run.
        at: dim -> size to run at (smallest size where left out); a list makes an item each.
        threads: intra-op threads of ONNX Runtime.
        provider: execution provider; default ``--onnxprep-provider``.
        max_time_s: no further processes are started after that.
    """


@_mark
def throughput_budget(
    min_per_s: float | None = None,
    *,
    at: Mapping[str, int] | Sequence[Mapping[str, int]] | None = None,
    threads: int = 1,
    provider: str | None = None,
    batch: str | None = None,
    sweep: bool = True,
    max_time_s: float = 30.0,
) -> None:
    """Demand a number of items per second, run after run in fresh processes.

    Args:
        min_per_s: items per second at least.
        at: dim -> size to measure at (smallest size where left out); a list makes an item each.
        threads: intra-op threads of ONNX Runtime.
        provider: execution provider; default ``--onnxprep-provider``.
        batch: the dim that counts items; left out, the first dim of every input where that is one and the same.
        sweep: also report other batch sizes and thread counts, and the thread count to recommend.
        max_time_s: no further processes are started after that.
    """


@_mark
def accuracy_budget(
    metric: Any = "top1", minimum: float | None = None, dataset: Any = None, max_drop: float | None = None
) -> None:
    """Hold the ONNX model to a score at its task, and to how much worse than the framework's it may be.

    Args:
        metric: ``top1``, ``top5``, ``f1``, ``mae``, ``mse``, ``rmse`` of the first output, or
            ``f(outputs, labels) -> float``, of which more is better.
        minimum: the least score that is good enough; of an error (``mae``, ``mse``, ``rmse``) the largest.
        dataset: a zero-argument factory of ``(feeds, labels)`` pairs, or an ``.npz`` file with ``labels``.
        max_drop: how much worse than the framework's own score it may be, in units of the metric.
    """


@dataclass(frozen=True)
class Check:
    """One row of `CHECKS`.

    Args:
        mark: the mark that asks for the check.
        read: reads and validates the mark's arguments.
        module: holds ``run(case) -> CheckResult`` and ``FINDING``.
    """

    mark: str
    read: Callable[..., Any]
    module: str


#: check name -> its row, in the order items are made. A new check is its module, its decorator, and a line here.
CHECKS: dict[str, Check] = {
    "export": Check("onnx_export", read_export, "pytest_onnxprep.checks.export"),
    "parity": Check("parity", read_parity, "pytest_onnxprep.checks.parity"),
    "latency": Check("latency_budget", read_latency, "pytest_onnxprep.checks.latency"),
    "size": Check("size_budget", read_size, "pytest_onnxprep.checks.size"),
    "operators": Check("operators", read_operators, "pytest_onnxprep.checks.operators"),
    "fits": Check("fits", read_fits, "pytest_onnxprep.checks.fits"),
    "memory": Check("memory_budget", read_memory, "pytest_onnxprep.checks.memory"),
    "startup": Check("startup_budget", read_startup, "pytest_onnxprep.checks.startup"),
    "throughput": Check("throughput_budget", read_throughput, "pytest_onnxprep.checks.throughput"),
    "accuracy": Check("accuracy_budget", read_accuracy, "pytest_onnxprep.checks.accuracy"),
}
