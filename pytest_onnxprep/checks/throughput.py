"""``throughput_budget``: items per second in fresh processes, over batch sizes and thread counts."""

from __future__ import annotations

from collections.abc import Mapping

from pytest_onnxprep.artifacts.composed_model import ComposedModel
from pytest_onnxprep.checks.case import Case
from pytest_onnxprep.checks.sizes import at_sizes, shown_sizes, told_at
from pytest_onnxprep.errors import SpecError, ThroughputTooLow, closest
from pytest_onnxprep.fuzz.example import Maker
from pytest_onnxprep.runtime.throughput import Load, measure_throughput
from pytest_onnxprep.spec.resource_requests import ThroughputRequest
from pytest_onnxprep.spec.signature import Signature
from pytest_onnxprep.spec.verdict import CheckResult

#: What a failing check is raised as.
FINDING = ThroughputTooLow

#: The sweep doubles the smallest batch so many times at most.
_DOUBLINGS = 5


def run(case: Case) -> CheckResult:
    """Measure and judge.

    Raises:
        SpecError: ``at`` or ``batch`` names an unknown dim, or a size is outside its range.
        OnnxPrepError: the model has several files, or cannot be measured.
    """
    request: ThroughputRequest = case.request
    if isinstance(case.model, ComposedModel):
        raise case.model.refusal(
            "throughput_budget",
            "and a process that holds ONNX Runtime alone cannot run what is between them",
            "give the whole a latency_budget (mean_ms=50 is 20 a second), or its parts a throughput_budget in tests of "
            "their own",
        )
    signature = case.model.signature
    sizes, feeds = at_sizes(signature, request.at[0], "throughput_budget(at=)")
    counted = _counted(signature, request.batch)
    items = sizes[counted] if counted else 1
    if items < 1:
        raise SpecError(f"throughput_budget: {counted}={items} holds no item; give a size of 1 or more in at=")
    others = {}
    if counted and request.sweep:
        maker = Maker(signature)
        others = {
            size: maker.feeds(maker.plain({**sizes, counted: size})) for size in batch_sizes(signature, counted, items)
        }
    found = measure_throughput(
        Load(case.model.path, feeds, items, counted or "runs", others, case.model.custom_ops),
        min_per_s=request.min_per_s,
        threads=request.threads,
        provider=request.provider or case.model.provider,
        sweep=request.sweep,
        max_time_s=request.max_time_s,
    )
    rest = {name: size for name, size in sizes.items() if name != counted}
    return CheckResult(
        found.verdict, found.summary + shown_sizes(rest), {**found.figures, "at": sizes}, told_at(found.details, sizes)
    )


def batch_sizes(signature: Signature, counted: str, items: int) -> list[int]:
    """The sizes of the sweep: the smallest, doubled while the range lasts, and the judged one."""
    dim = signature.dims[counted]
    size = max(dim.smallest_filled, 1)
    doubled = [size << step for step in range(_DOUBLINGS + 1)]
    return sorted({items, *(one for one in doubled if one in dim)})


def _counted(signature: Signature, asked: str | None) -> str | None:
    """The dim that counts the items of a run; None where runs are counted.

    Raises:
        SpecError: the dim asked for does not exist.
    """
    dims: Mapping[str, object] = signature.dims
    if asked is not None:
        if asked not in dims:
            raise SpecError(
                f"throughput_budget(batch=) names an unknown dim {asked!r}{closest(asked, dims)} "
                f"Dims of this model: {', '.join(dims) or 'none'}."
            )
        return asked
    firsts = {spec.shape[0].node if spec.shape else None for spec in signature.inputs.values()}
    first = next(iter(firsts)) if len(firsts) == 1 else None
    return first if isinstance(first, str) else None
