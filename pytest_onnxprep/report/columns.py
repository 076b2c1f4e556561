"""The columns of every table, in order: what each is called and what it shows of a row."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pytest_onnxprep.report.figures import budget, human
from pytest_onnxprep.report.records import Row


@dataclass(frozen=True, slots=True)
class Column:
    """One column; ``head`` is its title on two short lines."""

    key: str
    title: str
    head: tuple[str, str]
    cell: Callable[[Row], str]
    is_text: bool = False


def _export(row: Row) -> str:
    return human(row.export_s) + "*" * (row.cached and row.export_s is not None)


def _error(row: Row) -> str:
    if row.max_abs is None:
        return "-"
    if row.atol is None and row.rtol is None:
        return human(row.max_abs)
    return f"{human(row.max_abs)}/{budget(row.atol or 0.0)}"


def _latency(row: Row) -> str:
    if row.latency is None:
        return "-"
    name = "" if row.latency.name == "p95" else f"{row.latency.name} "
    limit = "" if row.latency.budget_ms is None else f"/{budget(row.latency.budget_ms)}"
    return f"{name}{human(row.latency.value_ms)}{limit}"


def _ratio(row: Row) -> str:
    if not row.ratio or not row.ratio_limit:
        return "-"
    if row.is_speedup:
        return f"x{1 / row.ratio:.3g}/{1 / row.ratio_limit:.3g}"
    return f"{row.ratio:.3g}/{row.ratio_limit:.3g}"


def _count(key: str) -> Callable[[Row], str]:
    def cell(row: Row) -> str:
        value = getattr(row, key)
        return f"{value:.0f}" if value is not None and abs(value) < 1e7 else human(value)

    return cell


COLUMNS = (
    Column("test", "model/test", ("", "model/test"), lambda row: row.test, is_text=True),
    Column("variant", "variant", ("", "variant"), lambda row: row.variant, is_text=True),
    Column("export_s", "export s", ("export", "s"), _export),
    Column("nodes", "nodes", ("", "nodes"), _count("nodes")),
    Column("mb", "MB", ("", "MB"), lambda row: human(row.mb)),
    Column("examples", "examples", ("exam-", "ples"), _count("examples")),
    Column("max_abs", "max error/tol", ("max error", "/tol"), _error),
    Column("p50_ms", "p50 ms", ("p50", "ms"), lambda row: human(row.p50_ms)),
    Column("latency", "p95/budget ms", ("p95 ms", "/budget"), _latency),
    Column("ratio", "ratio/limit", ("ratio", "/limit"), _ratio),
    Column("verdict", "verdict", ("", "verdict"), lambda row: row.verdict, is_text=True),
)


def filled(rows: Sequence[Row], columns: Sequence[Column] = COLUMNS) -> list[Column]:
    """The columns in which some row has something to show; names and verdicts always."""
    return [column for column in columns if column.is_text or any(column.cell(row) != "-" for row in rows)]


def legend(rows: Sequence[Row]) -> str:
    """Explain the signs these rows use; empty where they use none."""
    parts: list[str] = []
    if any(_export(row).endswith("*") for row in rows):
        parts.append("* export made earlier, taken from the cache")
    if any(row.rtol for row in rows if row.max_abs is not None):
        parts.append("tol is atol, rtol x |expected| comes on top")
    if any(row.ratio is not None and not row.is_speedup for row in rows):
        parts.append("ratio is its time to the other model's, side by side")
    if any(row.ratio is not None and row.is_speedup for row in rows):
        parts.append("x is how many times as fast as the other model it is")
    return "; ".join(parts)


def counts(verdicts: Sequence[str], order: Sequence[str]) -> str:
    """``3 pass, 1 fail``: the verdicts there are, those of ``order`` first."""
    known = [verdict for verdict in order if verdict in verdicts]
    names = dict.fromkeys([*known, *verdicts])
    return ", ".join(f"{verdicts.count(name)} {name or 'unknown'}" for name in names)
