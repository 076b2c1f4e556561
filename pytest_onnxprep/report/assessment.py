"""The assessment of each model for each device, as lines for the terminal and as Markdown."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from pytest_onnxprep.report.figures import middle, one_line
from pytest_onnxprep.report.records import Record, rows
from pytest_onnxprep.report.terminal import NARROWEST, Line

_COLUMNS = ("operators", "opset", "disk", "memory", "start-up", "latency", "accelerator")
_TITLES = {"disk": "disk MB", "memory": "memory MB", "start-up": "start-up ms", "latency": "latency ms"}
#: Behind a figure: it is what fails, or it is shown and not judged.
_SIGNS = {"fits": "", "does not fit": "!", "not judged": "?"}
_WIDEST_TEST = 30


def assessment_lines(records: Iterable[Record], width: int) -> list[Line]:
    """A table per device with a row per model, what does not fit and why, and where the figures come from."""
    lines: list[Line] = []
    for figures, group in _by_target(records):
        lines += [("", ""), (f"target {figures['target']}: {figures['title'] or figures['profile']}", "bold")]
        table = _table(group)
        colours = ["bold"] + ["" if found["fits"] else "red" for _, found in group]
        lines += [(f"  {text}", colour) for text, colour in zip(_aligned(table), colours, strict=True)]
        for text, colour in _notes(group):
            wrapped = textwrap.wrap(text, max(width, NARROWEST) - 2, subsequent_indent="    ", break_on_hyphens=False)
            lines += [(f"  {line}", colour) for line in wrapped]
    return lines


def assessment_markdown(records: Iterable[Record]) -> str:
    """The same for a pull request."""
    blocks = []
    for figures, group in _by_target(records):
        head, *body = _table(group)
        rule = ["---"] * len(head)
        table = "\n".join(f"| {' | '.join(cell.replace('|', '/') for cell in row)} |" for row in (head, rule, *body))
        notes = "\n".join(f"- {_plain(text)}" for text, _ in _notes(group))
        title = f"#### Target {_plain(figures['target'])}: {_plain(figures['title'] or figures['profile'])}"
        blocks.append("\n\n".join((title, table, notes)))
    return "\n\n".join(blocks)


def _by_target(
    records: Iterable[Record],
) -> Iterator[tuple[Mapping[str, Any], list[tuple[Record, Mapping[str, Any]]]]]:
    groups: dict[tuple[str, str], list[tuple[Record, Mapping[str, Any]]]] = {}
    for record in records:
        figures = record.get("figures")
        if record.get("check") == "fits" and isinstance(figures, Mapping) and figures.get("lines"):
            groups.setdefault((figures["target"], figures["profile"]), []).append((record, figures))
    for group in groups.values():
        yield group[0][1], group


def _table(group: Sequence[tuple[Record, Mapping[str, Any]]]) -> list[list[str]]:
    lines = [{line["what"]: line for line in figures["lines"]} for _, figures in group]
    used = [what for what in _COLUMNS if any(what in found for found in lines)]
    head = ["model/test", "variant", "assessment", *(_TITLES.get(what, what) for what in used), "best threads"]
    body = []
    for (record, figures), found in zip(group, lines, strict=True):
        cells = [_cell(found[what]) if what in found else "-" for what in used]
        threads = figures.get("recommended_threads")
        body.append([*_name(record), _word(figures), *cells, "-" if threads is None else str(threads)])
    return [head, *body]


def _name(record: Record) -> tuple[str, str]:
    (row,) = rows([record])
    # The row of one record alone cannot tell a target in the id from a parameter of the user's.
    test = row.test.replace(f"[{record['figures']['target']}]", "")
    return middle(test, _WIDEST_TEST), row.variant.replace("-opset", " ")


def _word(figures: Mapping[str, Any]) -> str:
    if not figures["fits"]:
        return "does not fit"
    return "fits, as far as judged" if figures["not_judged"] else "fits"


def _cell(line: Mapping[str, Any]) -> str:
    shown = "-" if line["value"] is None else _number(line["value"])
    return f"{shown}/{_number(line['limit'])}{_SIGNS.get(line['verdict'], '')}"


def _number(value: float) -> str:
    return f"{value:.0f}" if value >= 100 or float(value).is_integer() else f"{value:.2g}"


def _aligned(table: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(len(row[i]) for row in table) for i in range(len(table[0]))]
    cells = [
        [
            cell.ljust(size) if i < 3 else cell.rjust(size)
            for i, (cell, size) in enumerate(zip(row, widths, strict=True))
        ]
        for row in table
    ]
    return ["  ".join(row).rstrip() for row in cells]


def _notes(group: Sequence[tuple[Record, Mapping[str, Any]]]) -> list[tuple[str, str]]:
    """Reasons, each once with the models it is true of, and where the figures come from."""
    reasons: dict[tuple[str, str], dict[str, dict[str, None]]] = {}
    sources: dict[str, dict[str, None]] = {}
    remarks: dict[str, None] = {}
    for record, figures in group:
        name = " ".join(_name(record))
        for line in figures["lines"]:
            sources.setdefault(line["source"], {})[line["what"]] = None
            if line["verdict"] == "does not fit" or line["why"]:
                reason = line["why"] or f"{_number(line['value'])} of {_number(line['limit'])} {line['unit']}"
                found = reasons.setdefault((line["verdict"], reason), {})
                found.setdefault(line["what"], {})[name] = None
        remarks |= dict.fromkeys([*figures["notes"], f"this machine: {figures['machine']}"])
    told = []
    for (verdict, reason), whats in sorted(reasons.items(), key=lambda entry: entry[0][0] != "does not fit"):
        names = dict.fromkeys(name for found in whats.values() for name in found)
        whose = f"  [{', '.join(names)}]" if len(names) < len(group) else ""
        kind = "note" if verdict == "fits" else verdict
        told.append((one_line(f"{kind}: {', '.join(whats)}: {reason}{whose}"), "red" * (verdict == "does not fit")))
    kinds = [f"{', '.join(whats)}: {source}" for source, whats in sources.items() if source != "not measured"]
    return [*told, ("; ".join(kinds), "light"), *((remark, "light") for remark in remarks)]


def _plain(text: str) -> str:
    return one_line(text).replace("<", "&lt;").replace("*", "\\*").replace("_", "\\_").replace("|", "/")
