"""Peak memory of a fresh process that holds ONNX Runtime and the model, against budgets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pytest_onnxprep.errors import OnnxPrepError
from pytest_onnxprep.runtime.child_measure import ChildMeasure
from pytest_onnxprep.runtime.child_process import Files, Inputs, run_child
from pytest_onnxprep.spec.verdict import Verdict

#: Timed runs of each child; the arena has grown by the second.
RUNS = 3
#: Children taken in addition where the budget lies between the smallest and the largest of the first.
MORE_CHILDREN = 4
TIMEOUT_S = 300.0

_FIGURES = ("peak_mb", "model_mb", "steady_mb", "baseline_mb", "load_peak_mb")
#: One child of so many may be on the other side of the budget.
_STRAYS = 7
_HEADROOM = "the layout of the heap differs from process to process; leave the budget 10 % of headroom."
#: Peaks this near to each other are one.
_NEAR = 0.02

_WHAT = {"peak_mb": "peak", "model_mb": "model's own share of the peak", "steady_mb": "steady"}


@dataclass(frozen=True)
class MemoryMeasurement:
    """What the children held and what that says about the budgets.

    Args:
        verdict: ``PASS``, ``FAIL``, or ``INCONCLUSIVE`` where the children disagree.
        summary: one line.
        figures: JSON-able; megabytes are 10**6 bytes.
        children: every child, in order.
        details: where the memory goes; empty for a pass.
    """

    verdict: Verdict
    summary: str
    figures: dict[str, Any]
    children: tuple[ChildMeasure, ...]
    details: str = ""

    @property
    def peak_mb(self) -> float:
        """Megabytes of the process at its peak, the median."""
        return float(self.figures["peak_mb"])

    @property
    def model_mb(self) -> float:
        """The model's own share of it."""
        return float(self.figures["model_mb"])


def measure_children(
    path: Files,
    feeds: Inputs,
    *,
    budgets: Mapping[str, float],
    threads: int = 1,
    provider: str | None = None,
    custom_ops: Sequence[str] = (),
    children: int = 3,
) -> MemoryMeasurement:
    """Run the model in several fresh processes, one after the other; their median is judged.

    Resident memory hardly depends on what else the machine does, so the median over its budget is a fail. Where the
    children do not agree on which side of the budget they are, more are asked; where seven still do not, but for one,
    nobody can tell.

    Args:
        path: the ONNX file, or several.
        feeds: input name -> array; of several files, see `run_child`.
        budgets: ``peak_mb``, ``model_mb``, ``steady_mb`` -> megabytes; empty measures only.
        threads: intra-op threads.
        provider: execution provider; None is the CPU's.
        custom_ops: libraries of custom operators.
        children: how many, odd.

    Raises:
        OnnxPrepError: the model cannot be measured.
    """

    def child(*, arena: bool = False) -> ChildMeasure:
        return run_child(
            path,
            feeds,
            provider=provider,
            threads=threads,
            runs=RUNS,
            arena=arena,
            timeout_s=TIMEOUT_S,
            custom_ops=custom_ops,
        )

    found = [completed(child(), "memory") for _ in range(children)]
    if any(min(values) <= limit < max(values) for values, limit in _values_and_limits(found, budgets)):
        found += [completed(child(), "memory") for _ in range(MORE_CHILDREN)]
    profiled = child(arena=True)  # its own figures are not used: the profiler takes memory too
    return _Report(found, profiled.arena_bytes if profiled.ok else None, budgets).measurement()


def completed(child: ChildMeasure, what: str) -> ChildMeasure:
    """The child, if it did everything asked for.

    Raises:
        OnnxPrepError: it did not, with its own words.
    """
    if not child.ok:
        raise OnnxPrepError(f"{what} cannot be measured in a process of its own: {child.message}")
    return child


def median(values: list[float]) -> float:
    """The middle value; of an even number the larger of the two."""
    return sorted(values)[len(values) // 2]


def _series(children: list[ChildMeasure]) -> dict[str, list[float]]:
    """Megabytes by figure, one per child."""
    series: dict[str, list[float]] = {name: [] for name in _FIGURES}
    for one in children:
        if one.baseline is None or one.loaded is None or one.steady is None or one.own_bytes is None:
            continue  # no completed child
        series["peak_mb"].append(one.steady.peak / 1e6)
        series["model_mb"].append(one.own_bytes / 1e6)
        series["steady_mb"].append(one.steady.resident / 1e6)
        series["baseline_mb"].append(one.baseline.resident / 1e6)
        series["load_peak_mb"].append(one.loaded.peak / 1e6)
    return series


def _values_and_limits(children: list[ChildMeasure], budgets: Mapping[str, float]) -> list[tuple[list[float], float]]:
    series = _series(children)
    return [(series[name], limit) for name, limit in budgets.items()]


class _Report:
    """Words and figures."""

    def __init__(self, children: list[ChildMeasure], arena: int | None, budgets: Mapping[str, float]) -> None:
        self.children, self.budgets = children, budgets
        self.series = _series(children)
        self.medians = {name: median(values) for name, values in self.series.items()}
        self.arena_mb = None if arena is None else arena / 1e6
        self.over: dict[str, float] = {}
        self.open: dict[str, float] = {}
        for name, limit in budgets.items():
            over = sum(value > limit for value in self.series[name])
            if min(over, len(children) - over) > len(children) // _STRAYS:
                self.open[name] = limit
            elif self.medians[name] > limit:
                self.over[name] = limit

    def measurement(self) -> MemoryMeasurement:
        """The whole."""
        return MemoryMeasurement(
            Verdict.FAIL if self.over else Verdict.INCONCLUSIVE if self.open else Verdict.PASS,
            self._summary(),
            self._figures(),
            tuple(self.children),
            self._details() if self.over or self.open else "",
        )

    def _figures(self) -> dict[str, Any]:
        last = self.children[-1]
        own = {name: round(value, 3) for name, value in self.medians.items()}
        return {
            **own,
            "arena_mb": None if self.arena_mb is None else round(self.arena_mb, 3),
            "peak_range_mb": [round(end, 3) for end in (min(self.series["peak_mb"]), max(self.series["peak_mb"]))],
            "children": len(self.children),
            "budget": dict(self.budgets),
            "threads": last.threads_asked,
            "process_threads": last.threads,
            "provider": last.provider,
        }

    def _summary(self) -> str:
        shown = self.over or self.open or self.budgets
        if not shown:
            medians = self.medians
            return f"peak {_mb(medians['peak_mb'])} MB, of which the model {_mb(medians['model_mb'])} MB; no budget"
        return "; ".join(self._against(name, limit) for name, limit in shown.items()) + self._taken()

    def _against(self, name: str, limit: float) -> str:
        value = self.medians[name]
        if name in self.over:
            return f"{_WHAT[name]} {_mb(value)} MB, {_mb(value - limit)} over the budget of {limit:g}"
        if name in self.open:
            low, high = min(self.series[name]), max(self.series[name])
            return f"{_WHAT[name]} {_mb(low)}..{_mb(high)} MB against {limit:g} MB: too close to call"
        return f"{_WHAT[name]} {_mb(value)} of {limit:g} MB"

    def _taken(self) -> str:
        low, high = min(self.series["peak_mb"]), max(self.series["peak_mb"])
        spread = "" if _mb(low) == _mb(high) else f", peaks {_mb(low)}..{_mb(high)} MB"
        return f" (median of {len(self.children)} fresh processes{spread})"

    def _details(self) -> str:
        """Where the memory goes, and what may be done."""
        medians = self.medians
        lines = [f"memory {'over' if self.over else 'at its'} budget: {self._summary()}", ""]
        lines += [f"  {name:<38}{value:>10} MB" for name, value in self._rows()]
        arena = self.arena_mb or 0.0
        hint = _hint(medians, arena, min(self.over.values())) if self.over else _HEADROOM
        lines += ["", f"Hint: {hint}"]
        return "\n".join(lines)

    def _rows(self) -> list[tuple[str, str]]:
        medians = self.medians
        rows = [
            ("peak of the process", _mb(medians["peak_mb"])),
            ("  ONNX Runtime, NumPy and the inputs", _mb(medians["baseline_mb"])),
            ("  the model: weights, buffers, arena", _mb(medians["model_mb"])),
            ("peak while loading", _mb(medians["load_peak_mb"])),
        ]
        if self.arena_mb is not None:
            rows.append(("what the arena holds (reserved)", _mb(self.arena_mb)))
        return [*rows, ("steady, after the runs", _mb(medians["steady_mb"]))]


def _hint(medians: Mapping[str, float], arena: float, limit: float) -> str:
    if medians["baseline_mb"] >= limit:
        return "ONNX Runtime alone is over the budget; budget the model's own share with model_mb, or raise peak_mb."
    if medians["load_peak_mb"] >= (1 - _NEAR) * medians["peak_mb"]:
        return (
            "the peak is reached while loading: the file, the weights and their packed copies at once. "
            "Smaller weights shrink it; external data does not."
        )
    if arena > medians["model_mb"] / 2:
        return "most of it is the arena: intermediate results. A smaller batch or input size shrinks it."
    return "most of it is not the arena: weights, their packed copies and the graph. Quantising or sharing shrinks it."


def _mb(value: float) -> str:
    return f"{value:.0f}" if value >= 1000 else f"{value:.4g}"
