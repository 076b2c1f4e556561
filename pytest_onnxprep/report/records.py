"""Records (one per check) gathered into rows (one per test and variant)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from pytest_onnxprep.report.figures import number, one_line
from pytest_onnxprep.report.resources import Resources, resources
from pytest_onnxprep.spec.verdict import Verdict

#: What one check found: the ``results`` entries of the JSON report.
Record = Mapping[str, Any]

#: Checks that may be asked for at several sizes, an item each.
_SIZED = ("latency", "memory", "startup", "throughput", "fits")

#: Worst first. A verdict this version does not know counts as an error: it is not known to be harmless.
SEVERITY = tuple(v.value for v in (Verdict.ERROR, Verdict.FAIL, Verdict.INCONCLUSIVE, Verdict.SKIP, Verdict.PASS))


@dataclass(frozen=True, slots=True)
class Latency:
    """The measured percentile that is nearest to its budget, or furthest over it."""

    name: str
    value_ms: float
    budget_ms: float | None

    @property
    def share(self) -> float:
        """How much of the budget is used; 0 without a budget."""
        if self.budget_ms is None:
            return 0.0
        return self.value_ms / self.budget_ms if self.budget_ms > 0 else float("inf")


@dataclass(frozen=True, slots=True)
class Note:
    """One thing that is not as it should be, and the checks that found it."""

    verdict: str
    checks: tuple[str, ...]
    summary: str


@dataclass(frozen=True, slots=True)
class Row:
    """A test in one variant, with the figures of all its checks; None where no check gave the figure."""

    #: node id without variant and check, ``suites/test_a.py::test_classifier[resnet]``
    nodeid: str
    #: the shortest name that tells the row's test from the others', ``test_classifier[resnet]``
    test: str
    #: ``torchscript-opset17``
    variant: str
    verdict: str
    notes: tuple[Note, ...]
    export_s: float | None = None
    cached: bool = False
    nodes: float | None = None
    mb: float | None = None
    examples: float | None = None
    max_abs: float | None = None
    atol: float | None = None
    rtol: float | None = None
    p50_ms: float | None = None
    latency: Latency | None = None
    #: time of the model for each second of what it is compared with, and the most it may be
    ratio: float | None = None
    ratio_limit: float | None = None
    is_speedup: bool = False
    resources: Resources = field(default_factory=Resources)
    #: of the file, as `ModelDescription.to_json` gives it
    description: Mapping[str, Any] | None = None


def rows(records: Iterable[Record]) -> list[Row]:
    """Gather records into one row per test and variant, in order of first appearance."""
    groups: dict[tuple[str, str], list[Record]] = {}
    for record, key in keyed(list(records)):
        groups.setdefault(key, []).append(record)
    names = short_names(dict.fromkeys(nodeid for nodeid, _ in groups))
    return [_row(nodeid, names[nodeid], variant, group) for (nodeid, variant), group in groups.items()]


def worst(verdicts: Iterable[str]) -> str:
    """The worst of some verdicts; ``pass`` of none. A skip counts only where nothing else was found out."""
    found = list(verdicts)
    told = [verdict for verdict in found if verdict != Verdict.SKIP.value]
    return min(told or found, key=_severity, default=Verdict.PASS.value)


def _severity(verdict: str) -> int:
    return SEVERITY.index(verdict) if verdict in SEVERITY else 0


def _figures(record: Record) -> Mapping[str, Any]:
    figures = record.get("figures")
    return figures if isinstance(figures, Mapping) else {}


def _text(record: Record, key: str) -> str:
    return str(record.get(key) or "")


def _row(nodeid: str, test: str, variant: str, group: list[Record]) -> Row:
    by_check: dict[str, list[Mapping[str, Any]]] = {}
    for record in group:
        by_check.setdefault(_text(record, "check"), []).append(_figures(record))
    export, size = by_check.get("export", []), by_check.get("size", [])
    # Of several parity items the one that used most of its absolute tolerance is shown.
    parity = max(by_check.get("parity", [{}]), key=_used)
    timed = max(by_check.get("latency", [{}]), key=_share)
    ratio, ratio_limit, is_speedup = _ratio(by_check.get("latency", []))
    return Row(
        nodeid=nodeid,
        test=test,
        variant=variant,
        verdict=worst(_text(record, "verdict") for record in group),
        notes=_notes(group),
        export_s=_first(export, "export_s"),
        cached=any(figures.get("cached") is True for figures in export),
        nodes=_first(export + size, "nodes"),
        mb=_first(size + export, "mb"),
        examples=_total(by_check.get("parity", []), "examples"),
        max_abs=number(parity.get("max_abs")),
        atol=number(parity.get("atol")),
        rtol=number(parity.get("rtol")),
        p50_ms=number(timed.get("p50_ms")),
        latency=_latency(timed),
        resources=resources(by_check),
        ratio=ratio,
        ratio_limit=ratio_limit,
        is_speedup=is_speedup,
        description=next((one["description"] for one in export if isinstance(one.get("description"), Mapping)), None),
    )


def _first(figures: list[Mapping[str, Any]], key: str) -> float | None:
    return next((found for one in figures if (found := number(one.get(key))) is not None), None)


def _total(figures: list[Mapping[str, Any]], key: str) -> float | None:
    found = [value for one in figures if (value := number(one.get(key))) is not None]
    return sum(found) if found else None


def _used(figures: Mapping[str, Any]) -> float:
    error, atol = number(figures.get("max_abs")), number(figures.get("atol"))
    if error is None:
        return -1.0
    # NaN has no order; an error that is NaN is the worst there is.
    return float("inf") if error != error else error / atol if atol else error


def _share(figures: Mapping[str, Any]) -> float:
    latency = _latency(figures)
    return -1.0 if latency is None else latency.share


def _latency(figures: Mapping[str, Any]) -> Latency | None:
    """The budgeted percentile with the least room; p95, or the first percentile there is, without a budget."""
    budgets = figures.get("budget")
    found = [
        Latency(name.removesuffix("_ms"), value, limit)
        for name, allowed in (budgets.items() if isinstance(budgets, Mapping) else ())
        if (value := number(figures.get(str(name)))) is not None and (limit := number(allowed)) is not None
    ]
    if found:
        return max(found, key=lambda latency: latency.share)
    for name in ("p95_ms", "p99_ms", "p90_ms", "mean_ms"):
        if (value := number(figures.get(name))) is not None:
            return Latency(name.removesuffix("_ms"), value, None)
    return None


def _ratio(timed: list[Mapping[str, Any]]) -> tuple[float | None, float | None, bool]:
    """The comparison with the least room, of all latency items and all their comparisons."""
    found = [
        (ratio, limit, one.get("requirement") == "min_speedup")
        for figures in timed
        for one in figures.get("comparisons") or ()
        if isinstance(one, Mapping)
        and (ratio := number(one.get("ratio"))) is not None
        and (limit := number(one.get("ratio_limit")))
    ]
    return max(found, key=lambda one: one[0] / one[1], default=(None, None, False))


def _notes(group: list[Record]) -> tuple[Note, ...]:
    """What did not pass and was not skipped; checks that stumble over the same thing share a note."""
    found: dict[tuple[str, str], dict[str, None]] = {}
    for record in group:
        verdict = _text(record, "verdict")
        if verdict not in (Verdict.PASS.value, Verdict.SKIP.value):
            summary = one_line(_text(record, "summary")) or "no summary"
            found.setdefault((verdict, summary), {})[_text(record, "check") or "?"] = None
    notes = [Note(verdict, tuple(checks), summary) for (verdict, summary), checks in found.items()]
    return tuple(sorted(notes, key=lambda note: _severity(note.verdict)))


# --- names -----------------------------------------------------------------------------------------------------------


def keyed(records: list[Record]) -> Iterable[tuple[Record, tuple[str, str]]]:
    """Yield each record with (node id without variant and check, variant)."""
    split = [(record, *_split(record)) for record in records]
    # The id of an item at one of several sizes may go on after its check ("latency-batch8"), and so may the user's own
    # parameters ("parity-resnet"). The parameters are those that another check of the same test has too.
    known: dict[tuple[str, str], set[str]] = {}
    for record, base, own, variant in split:
        if record.get("check") not in _SIZED:
            known.setdefault((base, variant), set()).add(own)
    for record, base, own, variant in split:
        if record.get("check") in _SIZED:
            own = _own_parameters(record, own, known.get((base, variant), set()))
        yield record, (f"{base}[{own}]" if own else base, variant)


def _split(record: Record) -> tuple[str, str, str]:
    """Return (node id without parameters, the user's own parameters, variant)."""
    nodeid = _text(record, "nodeid") or _text(record, "test") or "?"
    base, bracket, rest = nodeid.partition("[")
    parameters = rest.removesuffix("]")
    variant = record.get("variant")
    variant = variant if isinstance(variant, Mapping) else {}
    exporter, opset = variant.get("exporter"), variant.get("opset")
    pattern = (
        rf"^(?P<before>(?:.*-)?)(?:{re.escape(str(exporter or 'auto'))}|auto)(?:-opset\d+)?(?P<label>-.+?)??"
        rf"-{re.escape(_text(record, 'check'))}\d*(?=-|$)"
    )
    match = re.match(pattern, parameters) if bracket and _text(record, "check") else None
    shown = str(exporter or "auto") + ("" if opset is None else f"-opset{opset}")
    if match is None:
        return base, parameters, shown
    own = (match["before"] + parameters[match.end() :].removeprefix("-")).removesuffix("-")
    return base, own, shown + (match["label"] or "")


def _own_parameters(record: Record, own: str, known: set[str]) -> str:
    if own in known:
        return own
    for name in sorted(known, key=len, reverse=True):
        if name and (own.startswith(f"{name}-") or own.endswith(f"-{name}")):
            return name
    if "" in known:
        return ""
    at = _figures(record).get("at")
    sizes = {f"{name}{mark}{size}" for name, size in (at.items() if isinstance(at, Mapping) else ()) for mark in "= "}
    sizes |= {size.replace(" ", "") for size in sizes}
    return "-".join(part for part in own.split("-") if part not in sizes)


def short_names(nodeids: Iterable[str]) -> dict[str, str]:
    """The last part of each node id, with as many of the parts before it as tell it from the others."""
    # "::" inside the brackets belongs to a parameter.
    parts = {nodeid: _parts(nodeid) for nodeid in nodeids}
    names: dict[str, str] = {}
    for nodeid, own in parts.items():
        names[nodeid] = next(
            (
                "::".join(own[-depth:])
                for depth in range(1, len(own))
                if sum(other[-depth:] == own[-depth:] for other in parts.values()) == 1
            ),
            "::".join(own),
        )
    return names


def _parts(nodeid: str) -> list[str]:
    base, bracket, rest = nodeid.partition("[")
    parts = base.split("::")
    parts[-1] += bracket + rest
    return parts
