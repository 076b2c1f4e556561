"""Functions for tests, scripts and notebooks without marks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, cast

from pytest_onnxprep.artifacts.onnx_model import OnnxModel
from pytest_onnxprep.checks import parity as parity_check
from pytest_onnxprep.checks.case import Case
from pytest_onnxprep.errors import ParityError, own_frames_hidden
from pytest_onnxprep.machine import conditions
from pytest_onnxprep.runtime.latency import LatencyMeasurement, measure
from pytest_onnxprep.runtime.memory import MemoryMeasurement, measure_children
from pytest_onnxprep.spec.check_requests import read_latency, read_parity
from pytest_onnxprep.spec.resource_requests import read_memory
from pytest_onnxprep.spec.verdict import CheckResult, Verdict


@own_frames_hidden
def assert_parity(
    model: OnnxModel, atol: float | None = None, rtol: float | None = None, *, samples: Any = None, **options: Any
) -> CheckResult:
    """Hold a model to parity, as ``@parity`` does.

    Args:
        model: from ``onnx_exporter`` or ``onnx_model``.
        atol: absolute tolerance.
        rtol: relative tolerance.
        samples: feeds of your own, checked first (see ``@onnx_export(samples=)``).
        **options: the other arguments of ``@parity``.

    Returns:
        The passing result, with its figures.

    Raises:
        ParityError: the model does not match; ``.result.figures`` holds the smallest failing example.
        SpecError: a malformed argument.
    """
    from pytest_onnxprep.checks.prepare import load_samples

    request = read_parity(atol, rtol, **options)
    own = load_samples(samples, model.layout.declared(model.signature))
    turned = {name: model.layout.filed_feeds(feeds) for name, feeds in own.items()}
    result = parity_check.run(Case(model, request, samples=turned))
    if result.verdict is Verdict.FAIL:
        raise ParityError(result)
    return result


@own_frames_hidden
def measure_latency(
    model: OnnxModel,
    *,
    at: Mapping[str, int] | None = None,
    threads: int = 1,
    provider: str | None = None,
    max_time_s: float = 3.0,
    **budgets: float,
) -> LatencyMeasurement:
    """Time ``session.run`` at fixed sizes; budgets (``p95_ms=15``) are judged, none just measures.

    Args:
        model: from ``onnx_exporter`` or ``onnx_model``.
        at: dim -> size; dims left out take their smallest.
        threads: intra-op threads of ONNX Runtime.
        provider: execution provider.
        max_time_s: sampling time at most, in seconds.
        **budgets: ``p50_ms``, ``p90_ms``, ``p95_ms``, ``p99_ms``, ``mean_ms``.

    Returns:
        Verdict, figures in milliseconds and all samples in seconds.

    Raises:
        SpecError: an unknown dim or a malformed budget.
    """
    from pytest_onnxprep.fuzz.example import Maker

    if budgets:
        read_latency(at=at, threads=threads, **cast(Any, budgets))
    maker = Maker(model.signature)
    feeds = maker.feeds(maker.plain(model.signature.check_sizes(at or {}, "at")))
    session = model.open_session(provider=provider, threads=threads)
    finish = conditions()
    found = measure(session, feeds, budgets=budgets, threads=threads, max_time_s=max_time_s)
    return replace(found, figures={**found.figures, "conditions": finish()})


@own_frames_hidden
def measure_memory(
    model: OnnxModel,
    *,
    at: Mapping[str, int] | None = None,
    threads: int = 1,
    provider: str | None = None,
    children: int = 3,
    **budgets: float,
) -> MemoryMeasurement:
    """Measure the memory of fresh processes that hold ONNX Runtime and the model only; budgets are judged.

    Args:
        model: from ``onnx_exporter`` or ``onnx_model``.
        at: dim -> size; dims left out take their smallest.
        threads: intra-op threads of ONNX Runtime.
        provider: execution provider.
        children: fresh processes whose median is told, an odd number.
        **budgets: ``peak_mb``, ``model_mb``, ``steady_mb``, in megabytes (10**6 bytes).

    Returns:
        Verdict, figures in megabytes, and what each process told.

    Raises:
        SpecError: an unknown dim or a malformed argument.
        OnnxPrepError: the model cannot be measured.
    """
    from pytest_onnxprep.checks.fresh import Subject
    from pytest_onnxprep.checks.sizes import at_sizes

    read_memory(at=at, threads=threads, provider=provider, children=children, **cast(Any, budgets or {"peak_mb": 1}))
    _, feeds = at_sizes(model.signature, at or {}, "at")
    subject = Subject.of(model, feeds)
    return measure_children(
        subject.files,
        subject.largest,
        budgets=budgets,
        threads=threads,
        provider=provider or model.provider,
        custom_ops=model.custom_ops,
        children=children,
    )
