"""This plugin over cases, the way a user would run it: a test module with the public marks, pytest, the JSON report."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import groupby
from pathlib import Path
from typing import Any

from benchmarks.detection.case import Case
from benchmarks.detection.exporting import BUILD, ROOT, open_case
from benchmarks.detection.lookup import part_of
from benchmarks.detection.mutants.apply import right_nodes

#: A case may take this long, export and parity together; what comes later does not count as found.
LIMIT_S = 30.0
#: After which a case that hangs is ended.
HANG_S = 120.0
GROUP = 12

_HEAD = '''"""Written by benchmarks.detection.plugin_runner."""

from benchmarks.detection.lookup import find
from pytest_onnxprep import onnx_export, parity
'''
_TEST = """

case = find({name!r})


@onnx_export(case.model, inputs=dict(case.inputs) or None, dims=dict(case.dims) or None, {export})
@parity({parity})
def test_{index}(onnx_model):
    pass
"""


@dataclass(frozen=True)
class Record:
    """What the plugin said of a case.

    Attributes:
        outcome: ``found`` (an item failed), ``quiet``, ``inconclusive``, ``error``, ``late`` (found after the limit),
            ``hang`` or ``crash``.
        verdicts: check -> verdict.
        blame: who the plugin says is at fault.
        node: the ONNX node it names.
        seconds: to the failing example, from the finished export; of the whole parity item where it is not told; None
            where parity did not fail.
        total: export and parity together.
        right: for a mutant, the nodes that are a right answer in this very file (tf2onnx numbers nodes anew).
    """

    name: str
    outcome: str
    verdicts: dict[str, str] = field(default_factory=dict)
    blame: str | None = None
    node: str | None = None
    layer: str | None = None
    seconds: float | None = None
    total: float = 0.0
    note: str = ""
    right: list[str] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """For the record."""
        return asdict(self)


def run_plugin(cases: Sequence[Case], *, explicit: bool) -> Iterator[Record]:
    """Run all cases, in groups of one framework and, for mutants, of one host.

    Args:
        cases: cases of the corpus, or mutants; found by their names in the process that runs pytest.
        explicit: ``@parity(atol=, rtol=)`` with the case's own tolerances instead of ``@parity()``.
    """
    order = sorted(cases, key=lambda case: (case.framework, part_of(case) == "mutants", case.exporter, case.name))
    for _, members in groupby(order, key=lambda case: (case.framework, part_of(case) == "mutants")):
        group = list(members)
        for start in range(0, len(group), GROUP):
            yield from _run_group(group[start : start + GROUP], explicit)


def _run_group(cases: Sequence[Case], explicit: bool) -> Iterator[Record]:
    artifacts: dict[str, Path] = {}
    right: dict[str, list[str]] = {}
    ready = []
    for case in cases:
        if case.edit is None:
            ready.append(case)
            continue
        try:
            subject = open_case(case)
            artifacts[case.name] = subject.path
            if part_of(case) == "mutants":
                right[case.name] = right_nodes(case.name, subject.sound_path)
            ready.append(case)
        except Exception as error:  # the sound export failed: nothing to judge
            yield Record(case.name, "error", note=f"no artifact: {type(error).__name__}: {str(error)[:200]}")
    found, ended = _run_pytest(ready, artifacts, explicit, HANG_S + LIMIT_S * len(ready))
    for case in ready:
        if case.name in found:
            yield replace(found[case.name], right=right.get(case.name, []))
        elif len(ready) == 1:
            yield Record(case.name, ended)
        else:  # the group died before its report was written: find out in whose test
            alone, how = _run_pytest([case], artifacts, explicit, HANG_S)
            yield alone.get(case.name, Record(case.name, how))


def _run_pytest(
    cases: Sequence[Case], artifacts: dict[str, Path], explicit: bool, limit_s: float
) -> tuple[dict[str, Record], str]:
    with tempfile.TemporaryDirectory(prefix="onnxprep-detection-") as name:
        folder = Path(name)
        (folder / "pytest.ini").write_text("[pytest]\n", encoding="utf-8")
        (folder / "test_cases.py").write_text(_module(cases, artifacts, explicit), encoding="utf-8")
        report = folder / "report.json"
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--tb=short", "test_cases.py"]
        command += ["--onnxprep-json", str(report), "--onnxprep-cache", str(BUILD / "cache")]
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "TF_CPP_MIN_LOG_LEVEL": "3"}
        try:
            done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=limit_s)
        except subprocess.TimeoutExpired:
            return {}, "hang"
        if not report.exists():
            tail = (done.stdout[-600:] + done.stderr[-300:]).strip()
            print(f"  no report ({done.returncode}): {tail}", flush=True)
            return {}, "crash"
        results = json.loads(report.read_text(encoding="utf-8"))["results"]
    found = {}
    for index, case in enumerate(cases):
        mine = [result for result in results if result["test"] == f"test_{index}"]
        if mine:
            found[case.name] = _record(case, mine)
        else:
            found[case.name] = Record(case.name, "error", note="no item ran: " + _why(done.stdout, index))
    return found, "error"


def _module(cases: Sequence[Case], artifacts: dict[str, Path], explicit: bool) -> str:
    parts = [_HEAD]
    for index, case in enumerate(cases):
        if case.name in artifacts:
            export = f"artifact={str(artifacts[case.name])!r}"
        else:
            export = f"exporter={case.exporter!r}" + (f", opset={case.opset}" if case.opset else "")
        arguments = [f"atol={case.atol!r}, rtol={case.rtol!r}"] if explicit else []
        arguments += ["special_values=True"] if case.special_values else []
        parts.append(_TEST.format(name=case.name, index=index, export=export, parity=", ".join(arguments)))
    return "".join(parts)


def _record(case: Case, results: list[dict[str, Any]]) -> Record:
    verdicts = {result["check"]: result["verdict"] for result in results}
    figures = {result["check"]: result.get("figures") or {} for result in results}
    parity = figures.get("parity", {})
    durations = {result["check"]: float(result.get("duration_s") or 0.0) for result in results}
    exported = float(figures.get("export", {}).get("export_s") or 0.0)
    total = max(exported, durations.get("export", 0.0)) + durations.get("parity", 0.0)
    failed = [result for result in results if result["verdict"] == "fail"]
    if failed:
        outcome = "found" if total <= LIMIT_S else "late"
    elif "error" in verdicts.values():
        outcome = "error"
    else:
        outcome = "inconclusive" if "inconclusive" in verdicts.values() else "quiet"
    said = parity.get("blame") or figures.get("export", {}).get("blame")
    # An exporter that refuses, or breaks the declaration, is at fault; no one has to say so.
    blame = said or ("converter" if verdicts.get("export") == "fail" else None)
    worst = next((r for r in results if r["verdict"] != "pass"), results[0])
    return Record(
        case.name,
        outcome,
        verdicts,
        blame,
        parity.get("first_divergent_node"),
        parity.get("layer"),
        float(parity.get("seconds_to_failure") or durations["parity"]) if verdicts.get("parity") == "fail" else None,
        round(total, 3),
        str(worst.get("summary") or "")[:240],
    )


def _why(output: str, index: int) -> str:
    lines = [line for line in output.splitlines() if f"test_{index}" in line or "rror" in line]
    return " ".join(lines[:2])[:240]
