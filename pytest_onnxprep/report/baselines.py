"""What ``--onnxprep-save-baseline`` did not save although it was measured, as lines for the terminal."""

from __future__ import annotations

from collections.abc import Iterable

from pytest_onnxprep.report.records import Record, rows
from pytest_onnxprep.report.terminal import Line


def left_out_lines(records: Iterable[Record]) -> list[Line]:
    """A line per model that has several files: a passing item would say so in the reports alone."""
    found: dict[str, None] = {}
    for record in records:
        figures = record.get("figures") or {}
        if record.get("check") == "latency" and figures.get("baseline_left_out"):
            (row,) = rows([record])
            found[f"no baseline saved of {row.test} {row.variant}: {figures['baseline_left_out']}"] = None
    return [("", ""), *((line, "yellow") for line in found)] if found else []
