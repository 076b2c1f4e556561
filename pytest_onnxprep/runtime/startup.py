"""Loading a model and running it for the first time in fresh processes, against budgets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pytest_onnxprep.errors import OnnxPrepError
from pytest_onnxprep.runtime.child_measure import ChildMeasure
from pytest_onnxprep.runtime.child_process import Files, Inputs, run_child
from pytest_onnxprep.runtime.fresh_runs import FreshRuns, process_of, run_fresh
from pytest_onnxprep.runtime.memory import TIMEOUT_S, completed, median
from pytest_onnxprep.spec.verdict import Verdict
from pytest_onnxprep.stats.fresh import Process
from pytest_onnxprep.stats.sequential import Ruling
from pytest_onnxprep.stats.words import in_ms, percent

#: Runs after the first, to tell how much slower that was.
RUNS = 5
_WHAT = {"load_ms": "load", "first_run_ms": "first run"}


@dataclass(frozen=True)
class StartupMeasurement:
    """How long the start took and what that says about the budgets.

    Args:
        verdict: ``PASS``, ``FAIL`` or ``INCONCLUSIVE``.
        summary: one line.
        figures: JSON-able; times in milliseconds.
        details: a table and a hint; empty for a pass.
    """

    verdict: Verdict
    summary: str
    figures: dict[str, Any]
    details: str = ""


def measure_startup(
    path: Files,
    feeds: Inputs,
    *,
    budgets: Mapping[str, float],
    threads: int = 1,
    provider: str | None = None,
    custom_ops: Sequence[str] = (),
    max_time_s: float = 30.0,
) -> StartupMeasurement:
    """Load and run the model in five to eleven fresh processes.

    Args:
        path: the ONNX file, or several. It is read from the page cache: what a disk takes is not in the figures.
        feeds: input name -> array; of several files, see `run_child`.
        budgets: ``load_ms``, ``first_run_ms`` -> milliseconds.
        threads: intra-op threads.
        provider: execution provider; None is the CPU's.
        custom_ops: libraries of custom operators.
        max_time_s: no further process is started after that, beyond the fifth.

    Raises:
        OnnxPrepError: the model cannot be measured.
    """

    def child() -> ChildMeasure:
        found = run_child(
            path,
            feeds,
            provider=provider,
            threads=threads,
            runs=RUNS,
            timeout_s=TIMEOUT_S,
            custom_ops=custom_ops,
        )
        return completed(found, "the start")

    def read(one: ChildMeasure) -> dict[str, Process]:
        if one.load is None or one.first_run is None:
            raise OnnxPrepError("the child told no times")
        return {"load_ms": process_of(one.load, threads), "first_run_ms": process_of(one.first_run, threads)}

    limits = {name: limit / 1e3 for name, limit in budgets.items()}
    runs = run_fresh(child, read, limits, max_time_s=max_time_s)
    summary = "; ".join(_against(runs, name, budgets[name]) for name in _shown(runs))
    summary += f" (median of {len(runs.children)} fresh processes)"
    details = "" if runs.verdict is Verdict.PASS else _details(runs, budgets, summary)
    return StartupMeasurement(runs.verdict, summary, _figures(runs, budgets), details)


def _shown(runs: FreshRuns) -> list[str]:
    """What failed; else what could not be told; else everything."""
    for ruling in (Ruling.FAIL, Ruling.INCONCLUSIVE):
        found = [name for name, one in runs.rulings.items() if one is ruling]
        if found:
            return found
    return list(runs.rulings)


def _against(runs: FreshRuns, name: str, limit_ms: float) -> str:
    value = runs.value(name)
    low, high = runs.interval(name)
    figure = f"{_WHAT[name]} {in_ms(value)} ms ({in_ms(low)}..{in_ms(high)})"
    ruling = runs.rulings[name]
    if ruling is Ruling.PASS:
        return f"{figure} within {limit_ms:g} ms"
    if ruling is Ruling.FAIL:
        over = value - limit_ms / 1e3
        return f"{figure}, {in_ms(over)} ms ({percent(over * 1e3 / limit_ms)}) over the budget of {limit_ms:g} ms"
    return f"{figure} against {limit_ms:g} ms: {runs.why_inconclusive(name)}"


def _figures(runs: FreshRuns, budgets: Mapping[str, float]) -> dict[str, Any]:
    figures: dict[str, Any] = {}
    for name in _WHAT:
        figures[name] = round(runs.value(name) * 1e3, 6)
        figures[f"{name.removesuffix('_ms')}_range_ms"] = [round(end * 1e3, 6) for end in runs.interval(name)]
    steady = median([one.timings[0].median_s for one in runs.children])
    imports = median([one.import_s or 0.0 for one in runs.children])
    cores = median([one.load.cores_used if one.load else 0.0 for one in runs.children])
    return figures | {
        "run_ms": round(steady * 1e3, 6),
        "import_ms": round(imports * 1e3, 3),
        "load_cores_used": round(cores, 3),
        "budget": dict(budgets),
        **runs.figures(),
    }


def _details(runs: FreshRuns, budgets: Mapping[str, float], summary: str) -> str:
    figures = _figures(runs, budgets)
    lines = [f"start-up: {summary}", "", f"{'':28}{'median ms':>10}  {'smallest..largest':<20}{'budget ms':>10}"]
    for name, what in _WHAT.items():
        low, high = runs.interval(name)
        limit = f"{budgets[name]:>10g}" if name in budgets else ""
        lines.append(f"  {what:<26}{in_ms(runs.value(name)):>10}  {f'{in_ms(low)}..{in_ms(high)}':<20}{limit}".rstrip())
    lines.append(f"  {'a later run':<26}{in_ms(figures['run_ms'] / 1e3):>10}")
    lines.append(f"  {'import onnxruntime, numpy':<26}{in_ms(figures['import_ms'] / 1e3):>10}  not part of either")
    return "\n".join([*lines, "", f"Hint: {_hint(runs)}"])


def _hint(runs: FreshRuns) -> str:
    failed = [name for name, one in runs.rulings.items() if one is Ruling.FAIL]
    if "load_ms" in failed:
        return "loading optimises the graph every time: save the optimised model, or make the file smaller."
    if failed:
        return "the first run makes the arena grow and touches every weight: run once at start-up, on purpose."
    return "run start-up items alone (no xdist, no other jobs), and give the budget 25 to 35 % headroom."
