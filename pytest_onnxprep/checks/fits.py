"""``fits``: a model is held to a device profile. What is simulated and what is measured is always said."""

from __future__ import annotations

import platform
from collections.abc import Iterator, Sequence
from typing import Any

from pytest_onnxprep.checks.assessment import Fit, Line, of_file
from pytest_onnxprep.checks.case import Case
from pytest_onnxprep.errors import DoesNotFit, SpecError
from pytest_onnxprep.fuzz.example import Maker
from pytest_onnxprep.runtime.child_measure import Outcome
from pytest_onnxprep.runtime.device import Stay, stay
from pytest_onnxprep.spec.fits_request import FitsRequest
from pytest_onnxprep.spec.target import Target
from pytest_onnxprep.spec.verdict import CheckResult, Verdict

#: What a failing check is raised as.
FINDING = DoesNotFit
_NO_FACTOR = "no measured speed_factor: a time of this machine says nothing of the device"
_XDIST = "not measured under xdist: run fits items with -n0 (pytest -n0 -m fits)"


def run(case: Case) -> CheckResult:
    """Assess the model, line by line.

    Raises:
        SpecError: ``at`` names an unknown dim, or the profile an operator nobody has.
        OnnxPrepError: ONNX Runtime does not run the model here at all.
    """
    request: FitsRequest = case.request
    target = request.target
    if target is None:
        raise SpecError("fits needs a target")
    model = case.model
    signature = model.signature
    sizes = signature.trace_sizes() if request.at is None else signature.check_sizes(request.at, "fits(at=)")
    maker = Maker(signature)
    stayed = stay(model.path, maker.feeds(maker.plain(sizes)), target, timed=case.timed)
    lines = [*of_file(model, target), *_of_stay(stayed, target, request.speed_factor, case.timed)]
    figures = _figures(target, sizes, stayed, lines)
    return CheckResult(*_verdict(target, lines, case.timed), figures, _details(target, lines, figures))


def _of_stay(stayed: Stay, target: Target, factor: float | None, timed: bool) -> Iterator[Line]:
    if target.memory_bytes is not None:
        yield _memory(stayed, target, target.memory_bytes)
    factor = factor * (target.sustained_factor or 1.0) if factor is not None else target.time_factor
    best = stayed.recommended
    for what, limit, seconds in (
        ("start-up", target.startup_ms, best.startup_s if best else None),
        ("latency", target.deadline_ms, best.seconds if best else None),
    ):
        if limit is not None:
            yield _time(what, limit, seconds, factor, stayed, timed, target)


def _memory(stayed: Stay, target: Target, limit: int) -> Line:
    child = stayed.capped
    cap = "RLIMIT_DATA, held to by the kernel" if stayed.hard else "its peak watched"
    how = f"simulated: a process of its own on this machine, {_machine(stayed, target)}, capped ({cap})"
    peak = None if child.peak_bytes is None else child.peak_bytes / 1e6
    if not child.ok:
        judged = child.outcome in (Outcome.OUT_OF_MEMORY, Outcome.KILLED)
        return Line("memory", Fit.NOT if judged else Fit.NOT_JUDGED, peak, limit / 1e6, "MB", child.message, how)
    over = child.peak_bytes is not None and child.peak_bytes > limit
    why = "" if not stayed.hard_message else f"only where memory is overcommitted: {stayed.hard_message}"
    return Line("memory", Fit.NOT if over else Fit.FITS, peak, limit / 1e6, "MB", why, how)


def _time(
    what: str, limit: float, seconds: float | None, factor: float | None, stayed: Stay, timed: bool, target: Target
) -> Line:
    if seconds is None:
        why = _XDIST if not timed else "not measured: the model did not get so far"
        return Line(what, Fit.NOT_JUDGED, None, limit, "ms", why, "not measured")
    best = stayed.recommended
    threads = best.threads if best else 1
    here = f"measured on this machine with {threads} thread{'s' * (threads != 1)}, {_machine(stayed, target)}"
    if factor is None:
        return Line(what, Fit.NOT_JUDGED, seconds * 1e3, limit, "ms", _NO_FACTOR, here)
    scaled = seconds * 1e3 * factor
    said = f" ({target.measured_how})" if target.measured_how else ""
    how = f"{here}, {seconds * 1e3:.3g} ms, times the given factor {factor:g}{said}"
    return Line(what, Fit.NOT if scaled > limit else Fit.FITS, scaled, limit, "ms", "", how)


def _machine(stayed: Stay, target: Target) -> str:
    cores = f"{stayed.cores} core{'s' * (stayed.cores != 1)} pinned"
    if target.cores is not None and stayed.cores < target.cores:
        cores += f" of the device's {target.cores}, this machine has no more"
    version = f"ONNX Runtime {stayed.capped.onnxruntime} for {platform.machine()}"
    return f"{version}, {cores}" + (f", {stayed.stand_in}" if stayed.stand_in else "")


def _verdict(target: Target, lines: Sequence[Line], timed: bool) -> tuple[Verdict, str]:
    wrong = [line for line in lines if line.fit is Fit.NOT]
    open_ = [line for line in lines if line.fit is Fit.NOT_JUDGED]
    if wrong:
        told = "; ".join(f"{line.what}: {_reason(line)}" for line in wrong)
        return Verdict.FAIL, f"does not fit {target.name}: {told}"
    by_why: dict[str, list[str]] = {}
    for line in open_:
        by_why.setdefault(line.why, []).append(line.what)
    told = "; ".join(f"not judged: {', '.join(names)} ({why})" for why, names in by_why.items())
    untimed = not timed and any(line.why == _XDIST for line in open_)
    summary = f"fits {target.name}" + (f" as far as judged; {told}" if told else "")
    return (Verdict.SKIP if untimed else Verdict.PASS), summary


def _reason(line: Line) -> str:
    return ", ".join(filter(None, (line.figure if line.what not in ("operators", "opset") else "", line.why)))


def _figures(target: Target, sizes: dict[str, int], stayed: Stay, lines: Sequence[Line]) -> dict[str, Any]:
    best = stayed.recommended
    return {
        "target": target.name,
        "title": target.title,
        "profile": target.path,
        "fits": not any(line.fit is Fit.NOT for line in lines),
        "not_judged": [line.what for line in lines if line.fit is Fit.NOT_JUDGED],
        "at": sizes,
        "lines": [line.to_json() for line in lines],
        "cores": target.cores,
        "cores_used": stayed.cores,
        "recommended_threads": best.threads if best else None,
        "thread_sweep": [
            {"threads": one.threads, "ms": one.seconds * 1e3, "startup_ms": one.startup_s * 1e3} for one in stayed.sweep
        ],
        "throttles_at_c": target.throttles_at_c,
        "sustained_factor": target.sustained_factor,
        "stand_in": stayed.stand_in or None,
    }


def _details(target: Target, lines: Sequence[Line], figures: dict[str, Any]) -> str:
    """The whole assessment, for a failure."""
    head = f"the model does not fit {target.title or target.name} ({target.path or target.name})"
    rows = [(line.what, line.fit.value, line.figure) for line in lines]
    widths = [max(len(row[i]) for row in rows) for i in range(3)]
    text = [head, ""]
    for line, row in zip(lines, rows, strict=True):
        cells = "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        text.append(f"  {cells}")
        text += [f"      {remark}" for remark in (line.why, line.how) if remark and remark != "read from the file"]
    where = ", ".join(f"{name}={size}" for name, size in figures["at"].items())
    text += ["", f"measured at {where or 'fixed sizes'}"]
    if target.throttles_at_c is not None and target.sustained_factor is None:
        text.append(f"not simulated: the device slows down from {target.throttles_at_c:g} C on")
    return "\n".join(text)
