"""Run every tool over the corpus and the mutants, and write RESULTS.md: `python -m benchmarks.detection`.

`--only bugs|twins|mutants`, `--tools plugin,naive,...` and `--names part-of-a-name ...` narrow it down; RESULTS.md is
written when nothing was. Answers are kept in `build/detection/results.json`; `--fresh` asks the given tools again.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Sequence
from pathlib import Path

from benchmarks.detection import lookup
from benchmarks.detection.case import Case
from benchmarks.detection.mutants.apply import selection
from benchmarks.detection.results import TOOLS, Results, run
from benchmarks.detection.score import PARTS, lists, notes, score, table
from benchmarks.table import Result
from pytest_onnxprep.report.environment import environment, header_line

RESULTS = Path(__file__).with_name("RESULTS.md")
#: The bars, as shares and seconds.
BUGS, MUTANTS, NODES, BLAMES, MEDIAN_S = 0.97, 0.98, 0.90, 0.90, 2.0
_NOTE = (
    "Bugs and twins: `benchmarks/detection/corpus/`, verified by `python -m benchmarks.detection.verify`. Mutants: "
    "`benchmarks/detection/mutants/selected.json`; those that no input tells from the original are left out. What a "
    "tool does not take counts as not found. Rivals run at their own defaults; the one check has the tolerances of the "
    "tutorials (rtol 1e-3, atol 1e-5), the naive test those of the case. Where a case edits a sound export, tools "
    "that export by themselves are handed the edited file. Seconds are from the finished export to the objection."
)


def true_nodes() -> dict[str, set[str]]:
    """For every mutant the nodes that are a right answer, read from the selection."""
    from benchmarks.detection.mutants.apply import Mutant

    return {Mutant(m["kind"], m["host"], m["seed"]).name: {m["node"], *m["around"]} for m in selection()["mutants"]}


def all_subjects() -> list[Case]:
    """Corpus and mutants."""
    return [*lookup.corpus().values(), *lookup.mutants().values()]


def measure() -> list[Result]:
    """Everything, from the kept answers where they still hold."""
    cases, results = all_subjects(), Results()
    run(cases, TOOLS, results)
    return summarise(cases, TOOLS, results)


def summarise(cases: Sequence[Case], tools: Sequence[str], results: Results) -> list[Result]:
    """The bars of the plugin, and the table of all tools."""
    nodes = true_nodes()
    rows = table(cases, tools, results, nodes)
    bugs, twins, mutants = (score("plugin", part, cases, results, nodes) for part in PARTS)
    found, killed = max(len(bugs.found), 1), max(len(mutants.found), 1)
    seconds = bugs.seconds + mutants.seconds
    median = statistics.median(seconds) if seconds else float("inf")
    measured = (
        f"bugs {bugs.shown()}, false alarms {len(twins.found)} of {twins.total}, mutants {mutants.shown()}, node right "
        f"{mutants.node_right / killed:.0%}, blame right {bugs.blame_right / found:.0%}, median {median:.2f} s"
    )
    met = (
        bugs.share >= BUGS
        and not twins.found
        and mutants.share >= MUTANTS
        and mutants.node_right / killed >= NODES
        and bugs.blame_right / found >= BLAMES
        and median < MEDIAN_S
    )
    bar = (
        f"at defaults, within 30 s a case: at least {BUGS:.0%} of bugs found, no false alarm on clean twins, at least "
        f"{MUTANTS:.0%} of mutants killed, the right node or its neighbour named for {NODES:.0%} of those, blame right "
        f"for {BLAMES:.0%} of bugs, median time to the failing example under {MEDIAN_S:g} s"
    )
    return [Result("Detection", bar, measured, met, rows, _NOTE)]


def main() -> int:
    """See the module."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.detection", description=__doc__)
    parser.add_argument("--only", choices=PARTS)
    parser.add_argument("--tools", default=",".join(TOOLS), help="comma-separated; " + ", ".join(TOOLS))
    parser.add_argument("--names", nargs="*", help="cases whose names contain one of these")
    parser.add_argument("--fresh", action="store_true", help="ask these tools again")
    parser.add_argument("--stale", action="store_true", help="keep the answers of an older state of the plugin")
    parser.add_argument("--show", action="store_true", help="the table from what is known, nothing is run")
    given = parser.parse_args()
    tools = given.tools.split(",")
    unknown = [tool for tool in tools if tool not in TOOLS]
    if unknown:
        parser.error(f"unknown tool {', '.join(unknown)}; there are {', '.join(TOOLS)}")
    cases = [
        case
        for case in all_subjects()
        if (given.only is None or lookup.part_of(case) == given.only)
        and (not given.names or any(name in case.name for name in given.names))
    ]
    results = Results(fresh=tools if given.fresh else (), stale=given.stale)
    if not given.show:
        run(cases, tools, results)
    summary = summarise(cases, tools, results)
    text = "\n".join([summary[0].markdown(), "", "### By name", "", *lists(cases, tools, results), ""])
    text += "".join(f"\n{tool}: {found}\n" for tool in tools if (found := notes(cases, tool, results)))
    print("\n" + text)
    if given.only is None and not given.names and tools == list(TOOLS):
        head = ["# Detection", "", "Made by `python -m benchmarks.detection`.", ""]
        RESULTS.write_text("\n".join([*head, f"`{header_line(environment())}`", "", text]), encoding="utf-8")
        print(f"wrote {RESULTS.name}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
