"""Latency over size: what a list in ``latency_budget(at=[...])`` draws."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pytest_onnxprep.report.figures import human, number
from pytest_onnxprep.report.records import Record, keyed, short_names

_WIDTH = 24


@dataclass(frozen=True, slots=True)
class Point:
    """One size: the dims that vary, and what was measured."""

    at: Mapping[str, int]
    p50_ms: float
    p95_ms: float | None
    budget_ms: float | None
    verdict: str

    @property
    def label(self) -> str:
        """``batch=8, seq=128``."""
        return ", ".join(f"{name}={size}" for name, size in self.at.items())

    @property
    def size(self) -> float:
        """Product of the sizes: how much work there is, as far as the sizes tell."""
        return float(math.prod(self.at.values()))


@dataclass(frozen=True, slots=True)
class Curve:
    """The latency of one test and variant over size, smallest first."""

    test: str
    variant: str
    points: tuple[Point, ...]

    @property
    def growth(self) -> float | None:
        """Exponent ``g`` of ``p50 ~ size ** g``, by least squares on logarithms; None where sizes do not differ."""
        xs = [math.log(point.size) for point in self.points if point.size > 0 and point.p50_ms > 0]
        ys = [math.log(point.p50_ms) for point in self.points if point.size > 0 and point.p50_ms > 0]
        if len(set(xs)) < 2:
            return None
        x, y = sum(xs) / len(xs), sum(ys) / len(ys)
        return sum((a - x) * (b - y) for a, b in zip(xs, ys, strict=True)) / sum((a - x) ** 2 for a in xs)

    def to_json(self) -> dict[str, Any]:
        """As ``--onnxprep-json`` holds it."""
        return {
            "test": self.test,
            "variant": self.variant,
            "growth": self.growth,
            "points": [
                {"at": dict(p.at), "p50_ms": p.p50_ms, "p95_ms": p.p95_ms, "budget_ms": p.budget_ms}
                for p in self.points
            ],
        }


def curves(records: Iterable[Record]) -> list[Curve]:
    """One curve for every test and variant that was timed at two sizes or more."""
    groups: dict[tuple[str, str], list[Record]] = {}
    for record, key in keyed(list(records)):
        if record.get("check") == "latency":
            groups.setdefault(key, []).append(record)
    names = short_names(dict.fromkeys(nodeid for nodeid, _ in groups))
    found = []
    for (nodeid, variant), group in groups.items():
        points = _points(group)
        if len({point.label for point in points}) > 1:
            found.append(
                Curve(names[nodeid], variant, tuple(sorted(points, key=lambda point: (point.size, point.label))))
            )
    return found


def lines(curve: Curve) -> list[str]:
    """The curve as text, a bar for each size."""
    width = max(len(point.label) for point in curve.points)
    longest = max(point.p50_ms for point in curve.points)
    drawn = [f"latency over size: {curve.test} {curve.variant}{_grown(curve)}"]
    for point in curve.points:
        bar = "#" * max(1, round(_WIDTH * point.p50_ms / longest))
        p95 = "" if point.p95_ms is None else f", p95 {human(point.p95_ms)}"
        limit = "" if point.budget_ms is None else f" of {human(point.budget_ms)}"
        drawn.append(f"  {point.label:<{width}}  {bar:<{_WIDTH}}  p50 {human(point.p50_ms)} ms{p95}{limit}")
    return drawn


def _grown(curve: Curve) -> str:
    growth = curve.growth
    if growth is None:
        return ""
    (name, *more) = [name for name in curve.points[0].at if len({point.at.get(name) for point in curve.points}) > 1]
    of = f"{name}^{growth:.2f}" if not more else f"(product of sizes)^{growth:.2f}"
    return f" (p50 grows as {of})"


def _points(group: Sequence[Record]) -> list[Point]:
    found = []
    timed = [(record, record.get("figures") or {}) for record in group]
    sizes = [figures["at"] for _, figures in timed if isinstance(figures.get("at"), Mapping)]
    varying = {name for at in sizes for name in at if len({one.get(name) for one in sizes}) > 1}
    for record, figures in timed:
        p50, at = number(figures.get("p50_ms")), figures.get("at")
        if p50 is None or not isinstance(at, Mapping):
            continue
        budgets = figures.get("budget")
        limit = number(budgets.get("p95_ms")) if isinstance(budgets, Mapping) else None
        shown = {name: int(size) for name, size in at.items() if name in varying}
        found.append(Point(shown, p50, number(figures.get("p95_ms")), limit, str(record.get("verdict"))))
    return found
