"""The table at the end of a run, as plain lines; the plugin prints them."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

from pytest_onnxprep.report.columns import COLUMNS, Column, filled, legend
from pytest_onnxprep.report.figures import middle, one_line
from pytest_onnxprep.report.records import Note, Row
from pytest_onnxprep.report.resource_columns import RESOURCE_COLUMNS, measured, resource_legend

#: Text and the name of its colour: pytest's markup names, or "" for none.
Line = tuple[str, str]

NARROWEST = 100

_COLOURS = {"pass": "", "skip": "light", "inconclusive": "yellow"}
# Four such columns and a short test name fit the narrowest table.
_LONGEST_CELL = 20
_SHORTEST_TEST = 12
# Left out in this order where even a narrow test column leaves no room.
_EXPENDABLE = ("p50_ms", "nodes", "examples", "mb", "export_s", "cores_used", "arena_mb", "model_mb", "threads")


def table(rows: Sequence[Row], width: int) -> list[Line]:
    """Lay the rows out as aligned lines of at most ``max(width, 100)`` columns, with a note for each failure below.

    Args:
        rows: what `pytest_onnxprep.report.records.rows` made; nothing is laid out for none.
        width: the terminal's.
    """
    if not rows:
        return []
    limit = max(width, NARROWEST)
    lines = _grid(rows, limit, COLUMNS)
    explained = legend(rows)
    if explained:
        lines.append((explained, "light"))
    used = measured(rows)
    if used:
        lines += [("", ""), *_grid(used, limit, RESOURCE_COLUMNS)]
        lines += [(text, "light") for text in filter(None, [resource_legend(used)])]
    notes = [line for row in rows for note in row.notes for line in _note(row, note, limit)]
    return [*lines, ("", ""), *notes] if notes else lines


def _grid(rows: Sequence[Row], limit: int, kinds: Sequence[Column]) -> list[Line]:
    columns = filled(rows, kinds)
    cells = [[_cell(column, row) for column in columns] for row in rows]
    _align_stars(columns, cells)
    while True:
        widths = [_fit(column, [row[i] for row in cells]) for i, column in enumerate(columns)]
        spare, gap = _spare(widths, limit)
        if spare >= min(widths[0], _SHORTEST_TEST):
            break
        drop = next(i for key in _EXPENDABLE for i, column in enumerate(columns) if column.key == key)
        columns = columns[:drop] + columns[drop + 1 :]
        cells = [row[:drop] + row[drop + 1 :] for row in cells]
    widths[0] = min(widths[0], spare)
    heads = [
        (_join([column.head[line] for column in columns], columns, widths, gap), "bold")
        for line in (0, 1)
        if any(column.head[line] for column in columns)
    ]
    return heads + [
        (_join(one, columns, widths, gap), _COLOURS.get(row.verdict, "red"))
        for one, row in zip(cells, rows, strict=True)
    ]


def _cell(column: Column, row: Row) -> str:
    text = one_line(column.cell(row))
    if column.key == "test":
        return text
    # The id's "opset" says nothing a reader of the variant column does not know.
    return middle(text.replace("-opset", " "), _LONGEST_CELL)


def _align_stars(columns: list[Column], cells: list[list[str]]) -> None:
    """Keep the digits of starred and plain figures in line."""
    for i, column in enumerate(columns):
        if not column.is_text and any(row[i].endswith("*") for row in cells):
            for row in cells:
                row[i] += "" if row[i].endswith("*") else " "


def _fit(column: Column, cells: list[str]) -> int:
    return max(map(len, (*column.head, *cells)))


def _spare(widths: list[int], limit: int) -> tuple[int, int]:
    """What is left for the first column, and the gap between columns: 2 where that leaves enough, else 1."""
    for gap in (2, 1):
        spare = limit - sum(widths[1:]) - gap * (len(widths) - 1)
        if spare >= widths[0]:
            break
    return spare, gap


def _join(cells: list[str], columns: list[Column], widths: list[int], gap: int) -> str:
    padded = [
        middle(text, width).ljust(width) if column.is_text else text.rjust(width)
        for text, column, width in zip(cells, columns, widths, strict=True)
    ]
    return (" " * gap).join(padded).rstrip()


def _note(row: Row, note: Note, limit: int) -> list[Line]:
    """One line that names the check; a summary too long for it goes on below rather than being cut."""
    colour = _COLOURS.get(note.verdict, "red")
    checks = ", ".join(note.checks)
    text = f"{note.verdict or 'unknown'}: {checks} of {row.test} {row.variant}: {note.summary}"
    lines = textwrap.wrap(text, limit, subsequent_indent="    ", break_on_hyphens=False)
    return [(line, colour) for line in lines]
