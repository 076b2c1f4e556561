"""The profiles of several files put together: each counts as often as one run of the whole calls it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

Figures = Mapping[str, Any]


def merged(parts: Mapping[str, Figures], calls: Mapping[str, int]) -> dict[str, Any]:
    """The figures of the whole; nodes and layers carry the name of their file in front.

    Args:
        parts: the figures of each file's profile.
        calls: how often a run of the whole calls it.
    """
    total = sum(found["nodes_ms"] * calls[name] for name, found in parts.items())
    first = next(iter(parts.values()))
    return {
        "threads": first["threads"],
        "provider": first["provider"],
        "runs": min(found["runs"] for found in parts.values()),
        "warm_up_runs": min(found["warm_up_runs"] for found in parts.values()),
        "run_ms": round(sum(found["run_ms"] * calls[name] for name, found in parts.items()), 6),
        "nodes_ms": round(total, 6),
        "operators": _rows(parts, calls, "operators", total),
        "layers": _rows(parts, calls, "layers", total, in_front=True),
        "nodes": sorted(_nodes(parts, calls, total), key=lambda node: -node["ms"]),
        "trace": None,
        "trace_runs": min(found["trace_runs"] for found in parts.values()),
        "parts": {
            name: {
                "calls": calls[name],
                "run_ms": found["run_ms"],
                "nodes_ms": found["nodes_ms"],
                "share": _share(found["nodes_ms"] * calls[name], total),
                "trace": found["trace"],
            }
            for name, found in parts.items()
        },
    }


def _rows(
    parts: Mapping[str, Figures], calls: Mapping[str, int], key: str, total: float, *, in_front: bool = False
) -> Sequence[dict[str, Any]]:
    """Rows of one name added up, most first."""
    rows: dict[str | None, dict[str, Any]] = {}
    for part, found in parts.items():
        for row in found[key]:
            name = f"{part}: {row['name']}" if in_front and row["name"] else row["name"]
            made = rows.setdefault(name, {"name": name, "ms": 0.0, "share": 0.0, "nodes": 0})
            made["ms"] = round(made["ms"] + row["ms"] * calls[part], 6)
            made["nodes"] += row["nodes"]
    for row in rows.values():
        row["share"] = _share(row["ms"], total)
    return sorted(rows.values(), key=lambda row: -row["ms"])


def _nodes(parts: Mapping[str, Figures], calls: Mapping[str, int], total: float) -> Iterator[dict[str, Any]]:
    for part, found in parts.items():
        for node in found["nodes"]:
            ms = round(node["ms"] * calls[part], 6)
            yield {
                **node,
                "part": part,
                "node": f"{part}: {node['node']}",
                "stands_for": [f"{part}: {name}" for name in node["stands_for"]],
                "layer": node["layer"] and f"{part}: {node['layer']}",
                "ms": ms,
                "share": _share(ms, total),
                "calls": node["calls"] * calls[part],
            }


def _share(ms: float, total: float) -> float:
    return round(ms / total, 6) if total else 0.0
