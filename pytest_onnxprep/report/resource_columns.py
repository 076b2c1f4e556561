"""The columns of the second table: what fresh processes were held to."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from pytest_onnxprep.report.columns import COLUMNS, Column
from pytest_onnxprep.report.figures import budget, human
from pytest_onnxprep.report.records import Row
from pytest_onnxprep.report.resources import Against


def _against(key: str) -> Callable[[Row], str]:
    def cell(row: Row) -> str:
        one: Against | None = getattr(row.resources, key)
        if one is None:
            return "-"
        return human(one.value) if one.budget is None else f"{human(one.value)}/{budget(one.budget)}"

    return cell


def _threads(row: Row) -> str:
    found = row.resources
    return human(found.threads) + "?" * (found.threads is not None and not found.sweep_quiet)


RESOURCE_COLUMNS = (
    *COLUMNS[:2],
    Column("peak_mb", "peak/budget MB", ("peak MB", "/budget"), _against("peak_mb")),
    Column("model_mb", "model MB", ("model", "MB"), _against("model_mb")),
    Column("arena_mb", "arena MB", ("arena", "MB"), lambda row: human(row.resources.arena_mb)),
    Column("load_ms", "load/budget ms", ("load ms", "/budget"), _against("load_ms")),
    Column("first_run_ms", "first run/budget ms", ("1st run", "ms/budget"), _against("first_run_ms")),
    Column("per_s", "per second/demanded", ("per s", "/demanded"), _against("per_s")),
    Column("cores_used", "cores used", ("cores", "used"), lambda row: human(row.resources.cores_used)),
    Column("threads", "threads to use", ("threads", "to use"), _threads),
)


def measured(rows: Sequence[Row]) -> list[Row]:
    """The rows of the second table."""
    return [row for row in rows if row.resources.measured]


def resource_legend(rows: Sequence[Row]) -> str:
    """Explain the signs these rows use; empty where they use none."""
    busy = any(_threads(row).endswith("?") for row in rows)
    return "? the machine was busy while thread counts were compared" if busy else ""
