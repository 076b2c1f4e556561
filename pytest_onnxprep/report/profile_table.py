"""What ``--onnxprep-profile`` found, as lines for the terminal and as a block of Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from pytest_onnxprep.report.figures import human, middle
from pytest_onnxprep.report.records import Record, rows
from pytest_onnxprep.report.terminal import NARROWEST, Line

#: Nodes shown of each variant; all figures are in the JSON report.
TOP = 10
_OPERATORS = 6
#: The profiler's own work is far less than this.
_LOST_MS = 1.0
_WIDEST = {"node": 40, "layer": 34}


def profile_lines(records: Iterable[Record], width: int, *, top: int = TOP) -> list[Line]:
    """Lay out the profile of each variant: operators in a line, the slowest nodes in a table, the trace file."""
    lines: list[Line] = []
    for record, figures in profiles(records):
        lines += [("", ""), (title(record, figures), "bold"), (f"  by operator: {operators(figures)}", "")]
        layers = _layers(figures)
        lines += [(f"  by layer:    {layers}", "")] if layers else []
        lines += [(line, "") for line in _table(figures["nodes"][:top], max(width, NARROWEST))]
        left = len(figures["nodes"]) - top
        if left > 0:
            rest = sum(node["share"] for node in figures["nodes"][top:])
            lines.append((f"  {left} more nodes take {rest:.0%}", "light"))
        if figures["run_ms"] > 2 * figures["nodes_ms"] and figures["run_ms"] - figures["nodes_ms"] > _LOST_MS:
            lines.append(
                ("  most of a run was spent outside its nodes: the machine was busy with other things", "yellow")
            )
        lines += [
            (f"  trace: {one['trace']}  (open in https://ui.perfetto.dev or chrome://tracing)", "")
            for one in ([figures, *figures.get("parts", {}).values()])
            if one.get("trace")
        ]
    return lines


def profile_markdown(records: Iterable[Record], *, top: int = TOP) -> str:
    """The same, folded up; the trace file stays with whoever ran it."""
    blocks = []
    for record, figures in profiles(records):
        body = "\n".join(line.rstrip() for line in _table(figures["nodes"][:top], NARROWEST))
        heading = f"{title(record, figures)}; {operators(figures)}"
        blocks.append(f"<details><summary>{heading}</summary>\n\n```text\n{body}\n```\n\n</details>")
    return "\n\n".join(blocks)


def profiles(records: Iterable[Record]) -> Iterator[tuple[Record, Mapping[str, Any]]]:
    """The records of finished profiles."""
    for record in records:
        figures = record.get("figures")
        if record.get("check") == "profile" and isinstance(figures, Mapping) and figures.get("nodes"):
            yield record, figures


def title(record: Record, figures: Mapping[str, Any]) -> str:
    """``profile of test_net dynamo-opset20 at batch=1: 0.113 ms in nodes, 0.13 ms a run (...)``."""
    (row,) = rows([record])
    where = ", ".join(f"{name}={size}" for name, size in (figures.get("at") or {}).items())
    threads = figures.get("threads") or 1
    return (
        f"profile of {row.test} {row.variant}{f' at {where}' if where else ''}: "
        f"{human(figures['nodes_ms'])} ms in nodes, {human(figures['run_ms'])} ms a run "
        f"(medians of {figures['runs']} runs after {figures['warm_up_runs']} for warm-up, "
        f"{threads} thread{'s' * (threads != 1)})"
    )


def operators(figures: Mapping[str, Any]) -> str:
    """``Conv 62% (53 nodes), Add 11% (16)``."""
    shown = figures["operators"][:_OPERATORS]
    parts = [f"{row['name']} {row['share']:.0%} ({row['nodes']}{' nodes' * (not i)})" for i, row in enumerate(shown)]
    left = len(figures["operators"]) - len(shown)
    return ", ".join(parts) + (f" and {left} more" if left > 0 else "")


def _layers(figures: Mapping[str, Any]) -> str:
    named = [row for row in figures["layers"] if row["name"]]
    if not named:
        return ""
    unknown = sum(row["share"] for row in figures["layers"] if not row["name"])
    parts = [f"{middle(row['name'], _WIDEST['layer'])} {row['share']:.0%}" for row in named[:_OPERATORS]]
    return ", ".join(parts) + (f"; in no layer {unknown:.0%}" if unknown >= 0.005 else "")


def _table(nodes: Sequence[Mapping[str, Any]], width: int) -> list[str]:
    head = ("ms", "share", "operator", "node", "layer")
    cells = [head] + [
        (
            human(node["ms"]),
            f"{node['share']:.0%}",
            node["operator"] + (f" x{node['calls']}" if node["calls"] > 1 else ""),
            _node(node),
            _where(node),
        )
        for node in nodes
    ]
    widths = [max(len(row[i]) for row in cells) for i in range(len(head))]
    widths[3] = min(widths[3], _WIDEST["node"])
    widths[4] = max(10, min(widths[4], width - sum(widths[:4]) - 10))
    return [
        "  "
        + "  ".join(
            [
                *(text.rjust(size) for text, size in zip(row[:2], widths[:2], strict=True)),
                *(middle(text, size).ljust(size) for text, size in zip(row[2:], widths[2:], strict=True)),
            ]
        ).rstrip()
        for row in cells
    ]


def _node(node: Mapping[str, Any]) -> str:
    """The file's own node, ``+1`` where ONNX Runtime runs one more with it; its own name where none is known."""
    stands_for = node["stands_for"]
    if not stands_for:
        return f"{node['node']} (of ONNX Runtime)"
    if node["known_by"] == "layout":
        return f"layout of {stands_for[0]}"
    return stands_for[0] if len(stands_for) == 1 else f"{stands_for[0]} +{len(stands_for) - 1}"


def _where(node: Mapping[str, Any]) -> str:
    layer, line = node["layer"], node["line"]
    # A layer found by its values may have no name of the user's: jax.vmap, a lambda.
    shown = f"{layer}, {line}" if layer and line and node.get("layer_from") == "value" else layer or line or "-"
    return " ".join(shown.split())
