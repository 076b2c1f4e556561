"""``--onnxprep-markdown``: the table for a pull-request comment or a job summary."""

from __future__ import annotations

import html
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from pytest_onnxprep.report.assessment import assessment_markdown
from pytest_onnxprep.report.columns import COLUMNS, Column, counts, filled, legend
from pytest_onnxprep.report.curves import Curve, curves, lines
from pytest_onnxprep.report.environment import header_line
from pytest_onnxprep.report.files import write_text
from pytest_onnxprep.report.profile_table import profile_markdown
from pytest_onnxprep.report.records import SEVERITY, Note, Record, Row, rows
from pytest_onnxprep.report.resource_columns import RESOURCE_COLUMNS, measured, resource_legend
from pytest_onnxprep.spec.description import ModelDescription

#: GitHub refuses comments of more than 65 536 characters.
LONGEST = 60_000

_SIGNS = {"pass": "✅", "fail": "❌", "error": "💥", "inconclusive": "⚠️", "skip": "⏭️"}
_NOTHING = "No model was checked."


def write_markdown(path: str | os.PathLike[str], records: Iterable[Record], environment: Mapping[str, Any]) -> None:
    """Write a summary line, one table row per test and variant, and a list of what failed.

    Raises:
        OnnxPrepError: the file cannot be written.
    """
    kept = list(records)
    write_text(path, markdown(rows(kept), environment, curves(kept), more=_more(kept)))


def _more(records: Sequence[Record]) -> str:
    return "\n\n".join(filter(None, (assessment_markdown(records), profile_markdown(records))))


def markdown(
    found: Sequence[Row], environment: Mapping[str, Any], drawn: Sequence[Curve] = (), *, more: str = ""
) -> str:
    """Return the report as text; rows that passed are left out where it would not fit a comment.

    Args:
        found: the rows.
        environment: of the run.
        drawn: latency over size.
        more: what follows the failures where there is room for it.
    """
    footer = f"<sub>{_prose(header_line(environment))}</sub>"
    if not found:
        return f"### ONNX models\n\n{_NOTHING}\n\n{footer}\n"
    title = f"### ONNX models: {counts([row.verdict for row in found], SEVERITY)}"
    failures = "\n".join(_note(row, note) for row in found for note in row.notes)
    wrong = [row for row in found if row.verdict != "pass"]
    for shown, inside in ((found, f"{more}\n\n{_files(found)}".strip()), (found, more), (found, ""), (wrong, "")):
        tables = [_table(shown, COLUMNS), _left_out(len(found) - len(shown)), _prose(legend(shown))]
        used = measured(shown)
        sizes = _curves(drawn) if shown is found else ""
        resources = [_table(used, RESOURCE_COLUMNS), _prose(resource_legend(used))]
        blocks = [title, *tables, *resources, failures, sizes, inside]
        text = "\n\n".join(filter(None, [*blocks, footer])) + "\n"
        if len(text) <= LONGEST:
            return text
    return _cut(text)


def _table(shown: Sequence[Row], kinds: Sequence[Column]) -> str:
    columns = filled(shown, kinds) if shown else []
    if not columns:
        return ""
    heads = [column.title for column in columns]
    rule = ["---" if column.is_text else "---:" for column in columns]
    body = [[_cell(column, row) for column in columns] for row in shown]
    return "\n".join(f"| {' | '.join(line)} |" for line in (heads, rule, *body))


def _curves(drawn: Sequence[Curve]) -> str:
    """Latency over size, folded away until somebody wants to see it."""
    if not drawn:
        return ""
    text = html.escape("\n\n".join("\n".join(lines(curve)) for curve in drawn), quote=False)
    return f"<details><summary>Latency over size</summary>\n\n<pre>\n{text}\n</pre>\n\n</details>"


def _cell(column: Column, row: Row) -> str:
    text = column.cell(row)
    if column.key == "verdict":
        return _pipe(f"{_SIGNS.get(text, '❓')} {_prose(text)}")
    return _pipe(_code(text)) if column.is_text else _pipe(_prose(text))


def _note(row: Row, note: Note) -> str:
    sign = _SIGNS.get(note.verdict, "❓")
    where = _code(f"{row.test} {row.variant}")
    return f"- {sign} {where} {_prose(', '.join(note.checks))}: {_prose(note.summary)}"


def _files(shown: Sequence[Row]) -> str:
    """What the files hold, folded away."""
    blocks = []
    for row in shown:
        if row.description is None:
            continue
        # Of several files that answer as one there is a description of each, by name.
        described = {"": row.description} if "opsets" in row.description else row.description
        for part, description in described.items():
            with suppress(KeyError, TypeError, ValueError):  # of another version of this plugin
                text = str(ModelDescription.from_json(description))
                fence = "`" * max(3, 1 + max(map(len, re.findall("`+", text)), default=0))
                blocks.append(f"{_code(f'{row.test} {row.variant} {part}')}\n\n{fence}text\n{text}\n{fence}")
    if not blocks:
        return ""
    return "\n\n".join(["<details><summary>What the files hold</summary>", *blocks, "</details>"])


def _left_out(number: int) -> str:
    return f"{number} rows that passed are left out." if number else ""


def _cut(text: str) -> str:
    kept = text[:LONGEST].rpartition("\n")[0]
    return f"{kept}\n\nThe report is longer than a comment may be; the JSON report has all of it.\n"


def _pipe(text: str) -> str:
    return text.replace("|", "\\|")


def _code(text: str) -> str:
    """A code span: a fence of backticks longer than any within."""
    text = " ".join(text.split())
    fence = "`" * (1 + max(map(len, re.findall("`+", text)), default=0))
    pad = " " if text[:1] == "`" or text[-1:] == "`" else ""
    return f"{fence}{pad}{text}{pad}{fence}"


def _prose(text: str) -> str:
    """Text that is shown as it is: no markup, no HTML, nobody mentioned, no issue linked."""
    text = html.escape(" ".join(text.split()), quote=False)
    text = re.sub(r"([\\`*_\[\]~])", r"\\\1", text)
    return re.sub(r"([@#])(?=\w)", "\\1\u200b", text)
