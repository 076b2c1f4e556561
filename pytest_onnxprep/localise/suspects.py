"""Chooses the culprit: the first node that nothing speaks for, though everything it reads is right."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from pytest_onnxprep.localise.observe import Observation


@dataclass(frozen=True)
class Suspect:
    """A node that may be the culprit.

    Attributes:
        index: the node.
        reach: number of unexplained nodes computed from it.
    """

    index: int
    reach: int


def suspects(seen: Observation, failing: Iterable[str], diverged: Iterable[str] = ()) -> list[Suspect]:
    """Nodes that may be the culprit, the likeliest first.

    Args:
        seen: what is known of every tensor.
        failing: outputs of the file that are wrong.
        diverged: tensors that match on another example and do not here.
    """
    graph = seen.graph
    explained = seen.explained()
    ends = {graph.producer[name] for name in failing if name in graph.producer} | set(seen.refusals)
    relevant = graph.ancestors(ends) if ends else set(range(len(graph.nodes)))
    excused = explained | graph.constant | seen.sizing()
    moved = {index for index in relevant - explained if seen.moved(index)}
    excused |= moved
    open_nodes = relevant - excused
    known_bad = {graph.producer[name] for name in diverged if name in graph.producer} & open_nodes
    first_bad = _firsts(seen, known_bad)
    found = []
    for index in sorted(open_nodes):
        if any(before in open_nodes for before in graph.before(index)):
            continue
        reach = graph.descendants([index]) & open_nodes
        if first_bad and not reach & first_bad:
            continue
        mover = next((before for before in graph.before(index) if before in moved), index)
        while (earlier := next((before for before in graph.before(mover) if before in moved), None)) is not None:
            mover = earlier
        found.append(Suspect(mover, len(reach)))
    found.sort(key=lambda s: (-_worth(seen, s), s.index))
    return found


def _worth(seen: Observation, suspect: Suspect) -> float:
    """How much of what is wrong a suspect explains; a value that might be right counts less."""
    return suspect.reach - (0.5 if seen.weak(suspect.index) else 0.0)


def _firsts(seen: Observation, bad: set[int]) -> set[int]:
    return {index for index in bad if not (seen.graph.ancestors([index]) - {index}) & bad}
