"""The first tensor that ONNX Runtime's graph optimisations change."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from pytest_onnxprep.localise.blame import Opinions
from pytest_onnxprep.localise.evidence import metadata
from pytest_onnxprep.localise.graph import Arrays, Graph
from pytest_onnxprep.localise.match import sample_error
from pytest_onnxprep.localise.probe import Probe, is_array
from pytest_onnxprep.localise.result import Localisation
from pytest_onnxprep.runtime.custom_ops import register

_SAME = 1e-4
_FATAL_ONLY = 4


def optimiser_suspect(
    model: Any, graph: Graph, folder: Path, feeds: Arrays, said: Opinions, deadline: float
) -> Localisation:
    """Compare the optimised graph's tensors with those of the same name in the file.

    Args:
        model: the `OnnxModel`.
        graph: its graph.
        folder: where its external data lies.
        feeds: the inputs.
        said: what the blame rests on.
        deadline: ``time.monotonic()`` after which nothing new is started.
    """
    with tempfile.TemporaryDirectory() as scratch:
        optimised = Graph(_optimised(model.path, Path(scratch), model.custom_ops), model.custom_ops)
        after = Probe(optimised, Path(scratch), feeds, deadline)
        shared = [name for node in optimised.nodes for name in node.output if name in graph.producer]
        before = Probe(graph, folder, feeds, deadline).fetch(shared)
        found = after.fetch(shared)
    if after.refusals:
        index = min(after.refusals)
        return _told(graph, optimised, index, said, after.refusals[index][:200])
    wrong = next(
        (name for name in shared if name in found and name in before and _differs(before[name], found[name])), ""
    )
    if not wrong:
        return Localisation(said.blame, said.why, limits="no tensor that the optimised graph still has differs")
    return _told(graph, optimised, optimised.producer[wrong], said, "")


def _told(graph: Graph, optimised: Graph, index: int, said: Opinions, hint: str) -> Localisation:
    node = optimised.nodes[index]
    output = next(name for name in node.output if name)
    original = graph.producer.get(output)
    made = f"{node.domain}.{node.op_type}" if node.domain else node.op_type
    if original is None:
        return Localisation(said.blame, said.why, optimised.label(index), str(node.op_type), output, hint=hint)
    known = [graph.producer[name] for name in node.input if name in graph.producer]
    region = sorted(graph.ancestors([original], stop=known) - set(known) - graph.constant)
    layer, line = metadata(graph, original)
    told = f"optimised into {made} {optimised.label(index)!r}" if made != graph.nodes[original].op_type else ""
    return Localisation(
        said.blame,
        said.why,
        graph.label(original),
        str(graph.nodes[original].op_type),
        output,
        layer,
        line,
        tuple(graph.label(i) for i in region) if len(region) > 1 else (),
        "; ".join(filter(None, (told, hint))),
    )


def _optimised(path: Path, scratch: Path, custom_ops: Iterable[str]) -> Any:
    import onnx
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = _FATAL_ONLY
    register(options, custom_ops)
    options.optimized_model_filepath = str(scratch / "optimised.onnx")
    options.add_session_config_entry("session.optimized_model_external_initializers_file_name", "optimised.data")
    onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return onnx.load(str(scratch / "optimised.onnx"), load_external_data=False)


def _differs(one: Any, other: Any) -> bool:
    if not (is_array(one) and is_array(other)) or one.shape != other.shape:
        return is_array(one) and is_array(other)
    scale = float(np.abs(one[np.isfinite(one)]).max(initial=0.0)) if one.dtype.kind == "f" else 1.0
    return sample_error(one.astype(np.float64).reshape(-1), other.astype(np.float64).reshape(-1), scale) > _SAME
