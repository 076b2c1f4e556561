"""What a person reads when parity fails: one screen."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from pytest_onnxprep.artifacts.composed_model import ComposedModel
from pytest_onnxprep.checks.boundary import boundaries
from pytest_onnxprep.checks.parity_run import Failure, ParityRun, base_figures, coverage
from pytest_onnxprep.compare.conditioning import Cause
from pytest_onnxprep.compare.elementwise import Difference
from pytest_onnxprep.compare.metrics import sqnr_db
from pytest_onnxprep.compare.replay import write_feeds, write_replay
from pytest_onnxprep.compare.tasks import TASK_METRICS
from pytest_onnxprep.exporters.narrowing import breached, words
from pytest_onnxprep.localise.result import Localisation
from pytest_onnxprep.localise.run import localise
from pytest_onnxprep.runtime.custom_ops import library_path
from pytest_onnxprep.spec.tolerance import Tolerance
from pytest_onnxprep.spec.verdict import CheckResult, Verdict


def failed(run: ParityRun, failure: Failure, telling: Failure) -> CheckResult:
    """The result of a failing parity check: who is to blame, where it begins, and its replay folder.

    Args:
        run: the check.
        failure: the smallest one, to show.
        telling: the one to localise by.
    """
    replay = _replay(run, failure)
    found = _localise(run, telling, replay)
    rules = boundaries(failure.example, run.outcome, run.maker)
    figures = {**base_figures(run), "minimal": failure.example.to_json()}
    if isinstance(replay, Path):
        figures["replay"] = str(replay)
    if run.progress.seconds_to_failure is not None:
        figures["seconds_to_failure"] = run.progress.seconds_to_failure
    if failure.unrepeatable:
        summary, rows = f"{failure.refusal}, at {_sizes(failure)}", [("input", str(failure.example))]
        figures["worst_output"] = ""
    elif failure.comparison is None:
        summary = f"ONNX Runtime refuses an input the framework takes, at {_sizes(failure)}: {failure.refusal[:200]}"
        rows = [("smallest input", str(failure.example)), ("ONNX Runtime", failure.refusal)]
        figures["worst_output"] = ""
    else:
        worst = failure.comparison.worst
        summary, rows = _difference(run, failure, worst)
        figures |= {
            "max_abs": worst.max_abs,
            "worst_output": worst.output,
            "atol": worst.atol,
            "rtol": worst.rtol,
            "index": None if worst.index is None else list(worst.index),
            "expected": worst.expected,
            "actual": worst.actual,
            "wrong_share": worst.wrong / worst.total if worst.total else None,
            "tightest": {"atol": worst.tightest_atol, "rtol": worst.tightest_rtol},
        }
    if isinstance(run.model, ComposedModel) and run.request.oracle == "framework":
        told = run.model.explain(failure.feeds, failure.expected)
        rows += told.rows
        summary += f"; {told.summary}" if told.summary else ""
    assumed = [words(record) for record in breached(run.model.provenance, failure.example.sizes)]
    if assumed:
        rows.insert(1, ("exported only for", "; ".join(assumed[:2])))
    if rules:
        figures["boundary"] = rules
        rows.insert(1, ("fails for", "; ".join(rules)))
    if found is not None:
        figures |= {
            "blame": found.blame or None,
            "first_divergent_node": found.node or None,
            "layer": found.layer or None,
            "divergence": found.to_json(),
        }
        shown = found if found.subgraph is None else replace(found, subgraph=_relative(found.subgraph))
        rows += shown.rows()
    rows += _trailer(run, replay)
    width = max(len(name) for name, _ in rows)
    text = "\n".join(f"  {name:<{width}}  {value}" for name, value in rows)
    chatter = [line for line in run.model.provenance.get("converter_output", []) if "Warning" in line.split(" ")[0]]
    sections = (("converter warnings", "\n".join(chatter)),) if chatter else ()
    return CheckResult(Verdict.FAIL, summary, figures, f"{summary}\n\n{text}", sections)


def _localise(run: ParityRun, failure: Failure, replay: Path | str) -> Localisation | None:
    """Where the difference begins; nothing where there is no framework to compare with, or no difference to it."""
    if run.request.oracle != "framework" or failure.unrepeatable or run.model.parts:
        return None
    rule = run.rule
    if failure.ruling is not None and failure.comparison is not None:
        worst = failure.comparison.worst
        if worst.kind == "values" and worst.max_abs:
            # It may be within the tolerance, and the file's fault all the same: that very difference is looked for.
            own = Tolerance(atol=worst.max_abs / 4, rtol=0.0)
            rule = replace(rule, per_output={**rule.per_output, worst.output: own})
    good = run.progress.last_good
    return localise(
        run.model,
        failure.feeds,
        failure.expected,
        rule,
        good_feeds=None if good is None else run.maker.feeds(good),
        folder=replay / "smallest" if isinstance(replay, Path) else None,
    )


def _difference(run: ParityRun, failure: Failure, worst: Difference) -> tuple[str, list[tuple[str, str]]]:
    assert failure.comparison is not None
    expected = failure.expected.get(worst.output)
    rows = [("smallest input", str(failure.example)), ("inputs", _arrays(failure.feeds))]
    if expected is not None:
        rows.append(("output", f"{worst.output}: {expected.dtype.name}{list(expected.shape)}"))
    if worst.matches:
        miss = failure.comparison.misses[0]
        summary = f"{miss.output!r}: {miss.metric} {miss.value:.4g} is below {miss.minimum:g}, at {_sizes(failure)}"
        if miss.metric in TASK_METRICS:
            shapes = [list(side[miss.output].shape) for side in (failure.expected, run.model.run(failure.feeds))]
            return summary, [*rows, ("found", f"{miss.output}: framework {shapes[0]}   ONNX Runtime {shapes[1]}")]
        return summary, [*rows, ("max |error|", f"{worst.max_abs:.6g}")]
    if worst.index is None:
        if failure.ruling is not None and worst.max_abs:
            rows.append(("max |error|", f"{worst.max_abs:.6g}; within {worst.atol:.3g}, and no rounding"))
            rows.append(("because", failure.ruling.cause.value))
            return f"{worst.output!r} differs by up to {worst.max_abs:.3g}, at {_sizes(failure)}", rows
        return f"{worst.output!r} {worst.what}, at {_sizes(failure)}", rows
    place = f"index {list(worst.index)}"
    rows.append((place, f"framework {_value(worst.expected)}   ONNX Runtime {_value(worst.actual)}"))
    rows.append(("wrong", f"{worst.wrong} of {worst.total} elements ({worst.wrong / worst.total:.1%})"))
    if worst.kind == "nan":
        return f"{worst.output!r} {worst.what}, at {_sizes(failure)}", rows
    if expected is not None and expected.dtype.kind == "f":
        allowed = f"allowed {worst.atol:.3g} + {worst.rtol:.3g} * |expected|"
        derived = " (derived, no numbers were given)" if run.rule.tolerance_of(worst.output).is_derived else ""
        rows.append(("max |error|", f"{worst.max_abs:.6g}; {allowed}{derived}"))
        rows.append(("SQNR", f"{_sqnr(run, failure, worst):.1f} dB"))
        rows.append(("would pass with", _tightest(worst)))
    if failure.ruling is not None and failure.ruling.cause is not Cause.UNEXPLAINED:
        rows.append(("because", failure.ruling.cause.value))
    summary = f"{worst.output!r} {worst.what} by up to {worst.max_abs:.3g}, at {_sizes(failure)}"
    return summary, rows


def _trailer(run: ParityRun, replay: Path | str) -> list[tuple[str, str]]:
    progress = run.progress
    refused = f", {progress.refused} refused by the framework" if progress.refused else ""
    sizes = f"; sizes tried: {coverage(run.signature, progress.tried)}" if progress.tried else ""
    rows = [
        ("examples", f"{progress.examples} run{refused}{sizes}"),
        ("model", f"{run.model.source.label}, {run.model.variant.id}"),
    ]
    if isinstance(replay, Path):
        shown = _relative(replay)
        kept = "samples.npz" if run.model.layout.inputs else "feeds.npz"
        rows += [
            ("replay", f"python {shown / 'replay.py'}"),
            ("pin it", f"copy its {kept} beside the test, then @onnx_export(..., samples={kept!r})"),
        ]
    else:
        rows.append(("replay", replay))
    return rows


def _replay(run: ParityRun, failure: Failure) -> Path | str:
    """Write the replay folder; a full disk must not hide the finding itself."""
    if run.case.replay_folder is None:
        return "not written (no folder was given)"
    if run.model.parts:
        return _inputs_alone(run.model.layout.declared_feeds(failure.feeds), run.case.replay_folder)
    try:
        return write_replay(
            run.case.replay_folder,
            title=f"{run.case.title}: {failure.example}",
            files=run.model.files,
            feeds=failure.feeds,
            expected=failure.expected,
            rule=run.rule,
            custom_ops=map(library_path, run.model.custom_ops),
            samples=run.model.layout.declared_feeds(failure.feeds) if run.model.layout.inputs else None,
        )
    except OSError as error:
        return f"could not be written to {run.case.replay_folder}: {error}"


def _inputs_alone(feeds: Mapping[str, np.ndarray], folder: Path) -> str:
    """Of several files with Python between them there is no script, but the inputs can be kept."""
    try:
        path = write_feeds(folder, feeds)
    except OSError as error:
        return f"could not be written to {folder}: {error}"
    shown = _relative(path)
    return (
        f"none, there are several files; its inputs are {shown}: @onnx_export(..., samples={path.name!r}) beside a copy"
    )


def _tightest(worst: Difference) -> str:
    found = []
    if worst.tightest_atol is not None:
        found.append(f"atol={_up(worst.tightest_atol)} (rtol={worst.rtol:g})")
    if worst.tightest_rtol is not None:
        found.append(f"rtol={_up(worst.tightest_rtol)} (atol={worst.atol:g})")
    return " or ".join(found) or "no tolerance"


def _up(value: float) -> str:
    """Three digits, rounded up, so that the printed number does pass."""
    text = f"{value:.2e}"
    if float(text) < value:
        mantissa, exponent = text.split("e")
        text = f"{float(mantissa) + 0.01:.2f}e{exponent}"
    return f"{float(text):.3g}"


def _sqnr(run: ParityRun, failure: Failure, worst: Difference) -> float:
    return sqnr_db(failure.expected[worst.output], run.model.run(failure.feeds)[worst.output])


def _sizes(failure: Failure) -> str:
    example = failure.example
    return example.sample or ", ".join(f"{name}={size}" for name, size in example.sizes.items()) or "fixed sizes"


def _arrays(feeds: Any) -> str:
    shown = [f"{name} {np.asarray(array).dtype.name}{list(array.shape)}" for name, array in feeds.items()]
    return ", ".join(shown[:6]) + (f" and {len(shown) - 6} more" if len(shown) > 6 else "")


def _value(value: object) -> str:
    return f"{value:.9g}" if isinstance(value, float) else repr(value)


def _relative(path: Path) -> Path:
    relative = Path(os.path.relpath(path))
    return path if relative.parts[:1] == ("..",) else relative
