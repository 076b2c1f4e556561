"""The node on which ONNX Runtime and `onnx.reference` part, given the same inputs."""

from __future__ import annotations

import time

import numpy as np

from pytest_onnxprep.localise.match import sample_error
from pytest_onnxprep.localise.probe import Probe, is_array
from pytest_onnxprep.localise.reference import Reference
from pytest_onnxprep.localise.suspects import Suspect

_SAME = 1e-3
_SCAN_S = 4.0


def kernel_suspect(probe: Probe, chosen: int | None, found: list[Suspect], deadline: float) -> int | None:
    """The first node whose kernel disagrees with the reference; ``chosen`` where none does.

    Args:
        probe: fetches values.
        chosen: what comparing with the framework says.
        found: the other suspects.
        deadline: ``time.monotonic()`` after which nothing new is started.
    """
    reference = Reference(probe.graph, probe.folder)
    until = min(deadline, time.monotonic() + _SCAN_S)
    near = [] if chosen is None else [chosen]
    order: list[int] = [*near, *(suspect.index for suspect in found), *range(len(probe.graph.nodes))]
    for index in order:
        if time.monotonic() > until:
            break
        if index in probe.refusals or disagrees(probe, reference, index):
            return index
    return chosen


def disagrees(probe: Probe, reference: Reference, index: int) -> bool:
    """Whether a node's kernel gives another answer than the reference, given the same inputs."""
    graph = probe.graph
    names = [name for name in graph.nodes[index].output if name]
    values = probe.fetch([*(n for n in graph.reads[index] if n not in graph.initializers), *names])
    wanted = reference.node(index, values)
    if wanted is None:
        return False
    for name in names:
        if name not in values or not is_array(values[name]):
            continue
        one, other = values[name], wanted[name]
        if one.shape != other.shape:
            return True
        scale = float(np.abs(one[np.isfinite(one)]).max(initial=0.0)) if one.dtype.kind == "f" else 1.0
        if sample_error(other.astype(np.float64).reshape(-1), one.astype(np.float64).reshape(-1), scale) > _SAME:
            return True
    return False
