"""From answers to figures: bugs found, false alarms, mutants killed, blame and node right, seconds."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.detection.case import Case
from benchmarks.detection.lookup import part_of
from benchmarks.detection.results import PLUGIN_TOOLS, Results
from benchmarks.detection.rivals import TITLES

PARTS = ("bugs", "twins", "mutants")
#: Outcomes that make a user of the plugin stop at a model that is sound.
_ALARMS = ("found", "late", "error", "crash", "hang")


@dataclass(frozen=True)
class Score:
    """One tool over one part.

    Attributes:
        found: names of the cases it objects to.
        missed: names of those it does not object to, whatever the reason.
        silent: of the missed, those it does not take at all.
        seconds: to each objection that came after a finished export.
    """

    tool: str
    part: str
    found: list[str]
    missed: list[str]
    silent: list[str]
    seconds: list[float]
    blame_right: int = 0
    node_right: int = 0

    @property
    def total(self) -> int:
        """Cases asked about."""
        return len(self.found) + len(self.missed)

    @property
    def share(self) -> float:
        """Of all cases, those not taken included."""
        return len(self.found) / self.total if self.total else 0.0

    def shown(self) -> str:
        """``57/60 (95 %)``, with the number taken where that is less."""
        if not self.total:
            return "-"
        taken = self.total - len(self.silent)
        if not taken:
            return "n/a"
        text = f"{len(self.found)}/{self.total} ({100 * self.share:.0f} %)"
        return text if taken == self.total else f"{text}, takes {taken}"


def score(tool: str, part: str, cases: Sequence[Case], results: Results, nodes: dict[str, set[str]]) -> Score:
    """Count. A twin counts as found (a false alarm) for any objection, of the plugin also for an error."""
    found, missed, silent, seconds = [], [], [], []
    blame = node = 0
    for case in (case for case in cases if part_of(case) == part):
        answer = results.get(case, tool)
        if answer is None:
            continue
        wrong = _ALARMS if part == "twins" and tool in PLUGIN_TOOLS else ("found",)
        objects = answer["outcome"] in wrong
        (found if objects else missed).append(case.name)
        if answer["outcome"] == "n/a":
            silent.append(case.name)
        if objects:
            if answer["seconds"] is not None:
                seconds.append(float(answer["seconds"]))
            blame += answer.get("blame") == case.blame
            node += answer.get("node") in (answer.get("right") or nodes.get(case.name, ()))
    return Score(tool, part, found, missed, silent, seconds, blame, node)


def table(cases: Sequence[Case], tools: Sequence[str], results: Results, nodes: dict[str, set[str]]) -> list[list[str]]:
    """All tools side by side; the first row is the header."""
    header = ["tool", "bugs found", "false alarms", "mutants killed", "node right", "blame right", "median s"]
    rows = [header]
    for tool in tools:
        bugs, twins, mutants = (score(tool, part, cases, results, nodes) for part in PARTS)
        plugin = tool in PLUGIN_TOOLS
        seconds = bugs.seconds + mutants.seconds
        rows.append(
            [
                TITLES[tool],
                bugs.shown(),
                twins.shown(),
                mutants.shown(),
                _of(mutants.node_right, len(mutants.found)) if plugin else "-",
                _of(bugs.blame_right, len(bugs.found)) if plugin else "-",
                f"{statistics.median(seconds):.2f}" if seconds else "-",
            ]
        )
    return rows


def _of(right: int, total: int) -> str:
    return f"{right}/{total} ({100 * right / total:.0f} %)" if total else "-"


def lists(cases: Sequence[Case], tools: Sequence[str], results: Results) -> list[str]:
    """Misses and false alarms by name."""
    lines = []
    for tool in tools:
        for part in PARTS:
            counted = score(tool, part, cases, results, {})
            names = counted.found if part == "twins" else [n for n in counted.missed if n not in counted.silent]
            what = {"bugs": "bugs missed", "twins": "false alarms", "mutants": "mutants that survive"}[part]
            if names:
                lines.append(f"- {TITLES[tool]}, {what}: {', '.join(sorted(names))}")
    return lines


def notes(cases: Sequence[Case], tool: str, results: Results) -> dict[str, Any]:
    """Outcomes that are neither found nor quiet, by name."""
    answers = {case.name: results.get(case, tool) for case in cases}
    return {n: a["outcome"] for n, a in answers.items() if a and a["outcome"] not in ("found", "quiet", "n/a")}
