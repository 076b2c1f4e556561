"""The layer of a node whose file says nothing of it: that of the framework's value its result equals."""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import numpy as np

from pytest_onnxprep.artifacts.onnx_model import OnnxModel
from pytest_onnxprep.localise.graph import Graph
from pytest_onnxprep.localise.layers import Layer
from pytest_onnxprep.localise.match import Pool
from pytest_onnxprep.localise.observe import Observation, observe
from pytest_onnxprep.localise.probe import Probe
from pytest_onnxprep.sources.trace import Limits

#: Frameworks whose images have their channels last.
_CHANNELS_MOVE = frozenset({"keras", "tensorflow", "jax"})
#: What passes for rounding: float32 over a network.
_TOLERANCE = 1e-4


def layers_by_value(model: OnnxModel, feeds: Mapping[str, np.ndarray], *, max_s: float = 10.0) -> dict[str, Layer]:
    """Run the framework's model and the file on the same inputs, and match what they compute.

    Never raises: a model that cannot be watched has no such layers.

    Args:
        model: the file and its source.
        feeds: the inputs.
        max_s: seconds to spend.

    Returns:
        Label of the node (its name, or what it writes) -> layer; nodes whose result may equal another by chance are
        left out.
    """
    deadline = time.monotonic() + max_s
    state: Mapping[str, np.ndarray] = {}
    with suppress(Exception):
        state = dict(model.source.state())
    try:
        return _matched(_watch(model, feeds, deadline))
    except Exception:  # whatever a framework raises while it is watched
        return {}
    finally:
        with suppress(Exception):
            model.source.restore(state)


def _watch(model: OnnxModel, feeds: Mapping[str, Any], deadline: float) -> Observation:
    graph = Graph(model.graph_proto, model.custom_ops)
    left = max(0.5, (deadline - time.monotonic()) / 2)
    trace = model.source.trace(feeds, model.signature, Limits(max_s=left))
    probe = Probe(graph, model.path.resolve().parent, dict(feeds), deadline)
    pool = Pool(trace, layouts=model.source.framework in _CHANNELS_MOVE)
    return observe(probe, trace, pool, _TOLERANCE)


def _matched(seen: Observation) -> dict[str, Layer]:
    found = {}
    for index, node in enumerate(seen.graph.nodes):
        if not seen.proven(index):
            continue
        values = [seen.trace.values[seen.matches[name].place] for name in node.output if name in seen.matches]
        value = next((value for value in values if value.layer or value.line), None)
        if value is not None and value.operator not in ("weight", "input"):
            found[seen.graph.label(index)] = Layer(value.layer, value.layer_kind, value.line)
    return found
