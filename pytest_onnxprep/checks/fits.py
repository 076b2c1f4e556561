"""``fits``: a model is held to a device profile. What is simulated and what is measured is always said."""

from __future__ import annotations

import platform
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from pytest_onnxprep.checks.assessment import Fit, Line, Source, of_file
from pytest_onnxprep.checks.case import Case
from pytest_onnxprep.checks.fresh import Subject
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
    sizes = signature.check_sizes(request.at[0], "fits(at=)") if request.at else signature.trace_sizes()
    maker = Maker(signature)
    subject = Subject.of(model, maker.feeds(maker.plain(sizes)))
    stayed = stay(
        subject.files,
        subject.inputs,
        target,
        timed=case.timed,
        custom_ops=model.custom_ops,
        largest=subject.largest,
    )
    lines = [*of_file(model, target), *_of_stay(stayed, _Timing(target, request.speed_factor, case.timed))]
    figures = {**_figures(target, sizes, stayed, lines), **subject.figures}
    figures["notes"] += _of_files(subject)
    verdict, summary = _verdict(target, lines, case.timed)
    return CheckResult(verdict, summary + subject.shown, figures, _details(target, lines, figures))


def _of_files(subject: Subject) -> list[str]:
    """What is no part of the figures of several files."""
    if not subject.parts:
        return []
    without = f" ({', '.join(subject.outside)})" if subject.outside else ""
    return [
        f"{len(subject.parts)} files, all loaded in one process; what runs between them{without} is in no figure: "
        "it is yours to port"
    ]


@dataclass(frozen=True)
class _Timing:
    """What decides about times.

    Args:
        target: the device.
        own_factor: the mark's factor, which takes the place of the profile's.
        timed: whether times were taken.
    """

    target: Target
    own_factor: float | None
    timed: bool

    @property
    def factor(self) -> float | None:
        """What a time of this machine is multiplied with."""
        if self.own_factor is None:
            return self.target.time_factor
        return self.own_factor * (self.target.sustained_factor or 1.0)


def _of_stay(stayed: Stay, request: _Timing) -> Iterator[Line]:
    target, best = request.target, stayed.recommended
    if target.memory_bytes is not None:
        yield _memory(stayed, target.memory_bytes)
    for what, limit, seconds in (
        ("start-up", target.startup_ms, best.startup_s if best else None),
        ("latency", target.deadline_ms, best.seconds if best else None),
    ):
        if limit is not None:
            yield _time(what, limit, seconds, stayed, request)


def _memory(stayed: Stay, limit: int) -> Line:
    child = stayed.capped
    how = "a process of its own, " + (
        "held by the kernel to what it may reserve (RLIMIT_DATA)" if stayed.hard else "ended when its peak is more"
    )
    peak = None if child.peak_bytes is None else child.peak_bytes / 1e6
    fit, why = Fit.FITS, ""
    if not child.ok:
        fit = Fit.NOT if child.outcome in (Outcome.OUT_OF_MEMORY, Outcome.KILLED) else Fit.NOT_JUDGED
        why = child.message
    elif child.peak_bytes is not None and child.peak_bytes > limit:
        fit = Fit.NOT
    elif stayed.hard_message:
        why = f"fits only where memory is overcommitted, as Linux does by default: {stayed.hard_message}"
    return Line("memory", fit, peak, limit / 1e6, "MB", why, Source.SIMULATED, how)


def _time(what: str, limit: float, seconds: float | None, stayed: Stay, request: _Timing) -> Line:
    best, factor = stayed.recommended, request.factor
    if seconds is None or best is None:
        why = "not measured: the model did not get so far" if request.timed else _XDIST
        return Line(what, Fit.NOT_JUDGED, None, limit, "ms", why, Source.NONE)
    threads = f"{best.threads} thread{'s' * (best.threads != 1)}"
    if factor is None:
        return Line(what, Fit.NOT_JUDGED, seconds * 1e3, limit, "ms", _NO_FACTOR, Source.MEASURED, threads)
    scaled = seconds * 1e3 * factor
    said = f" ({request.target.measured_how})" if request.target.measured_how and not request.own_factor else ""
    how = f"{threads}, {seconds * 1e3:.3g} ms x {factor:g}{said}"
    return Line(what, Fit.NOT if scaled > limit else Fit.FITS, scaled, limit, "ms", "", Source.SCALED, how)


def _machine(stayed: Stay, target: Target) -> str:
    cores = f"{stayed.cores} core{'s' * (stayed.cores != 1)} pinned"
    if target.cores is not None and stayed.cores < target.cores:
        cores += f", the device has {target.cores}"
    version = f"ONNX Runtime {stayed.capped.onnxruntime} for {platform.machine()}"
    return f"{version}, {cores}" + (f"; {stayed.stand_in}" if stayed.stand_in else "")


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
        "machine": _machine(stayed, target),
        "stand_in": stayed.stand_in or None,
        "notes": list(_notes(stayed, target)),
    }


def _notes(stayed: Stay, target: Target) -> Iterator[str]:
    """What nobody here can know."""
    if target.throttles_at_c is not None and target.sustained_factor is None:
        yield f"not simulated: the device slows down from {target.throttles_at_c:g} C on"
    if stayed.sweep and target.cores is not None and stayed.cores < target.cores:
        yield f"threads were tried up to {stayed.cores}: this machine has no more cores"


def _details(target: Target, lines: Sequence[Line], figures: dict[str, Any]) -> str:
    """The whole assessment, for a failure."""
    head = f"the model does not fit {target.title or target.name} ({target.path or target.name})"
    rows = [(line.what, line.fit.value, line.figure) for line in lines]
    widths = [max(len(row[i]) for row in rows) for i in range(3)]
    text = [head, ""]
    for line, row in zip(lines, rows, strict=True):
        cells = "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        text.append(f"  {cells}")
        told = f"{line.source.value}: {line.how}" if line.how else line.source.value
        text += [f"      {remark}" for remark in (line.why, told if line.source is not Source.FILE else "") if remark]
    where = ", ".join(f"{name}={size}" for name, size in figures["at"].items())
    text += ["", f"at {where or 'fixed sizes'}; this machine: {figures['machine']}", *figures["notes"]]
    return "\n".join(text)
