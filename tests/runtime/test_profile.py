"""Times per node out of ONNX Runtime's traces."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from pytest_onnxprep.errors import OnnxPrepError
from pytest_onnxprep.runtime.profile import profile, summarise


def run_event(ts: int, dur: int) -> dict[str, Any]:
    """A whole run, microseconds."""
    return {"cat": "Session", "name": "model_run", "ts": ts, "dur": dur, "tid": 1}


def node_event(ts: int, dur: int, name: str, operator: str, index: int = 0) -> dict[str, Any]:
    """One node's kernel."""
    args = {"op_name": operator, "node_index": str(index), "provider": "CPUExecutionProvider"}
    return {"cat": "Node", "name": f"{name}_kernel_time", "ts": ts, "dur": dur, "tid": 1, "args": args}


def test_warm_up_is_left_out() -> None:
    """The first run, a hundred times slower, moves no figure."""
    events = [run_event(0, 9000), node_event(10, 8000, "a", "Conv")]
    for start in (10_000, 20_000, 30_000):
        events += [run_event(start, 100), node_event(start + 10, 80, "a", "Conv")]

    found = summarise(events, warm_up_runs=1, runs=3)

    assert (found.nodes[0].ms, found.run_ms, found.nodes_ms) == (0.08, 0.1, 0.08)
    assert [len(run) for run in found.events] == [2, 2, 2]


def test_a_loop_does_not_count_its_body_twice() -> None:
    """What the nodes of a body take is taken off the node that holds it; their calls are counted."""
    events = [
        run_event(0, 1000),
        node_event(100, 800, "loop", "Loop"),
        node_event(150, 200, "add", "Add", 1),
        node_event(400, 300, "add", "Add", 1),
    ]

    found = {node.name: node for node in summarise(events, warm_up_runs=0, runs=1).nodes}

    assert (found["add"].ms, found["add"].calls) == (0.5, 2)
    assert found["loop"].ms == pytest.approx(0.3)


def test_a_node_that_one_run_skips_took_no_time_there() -> None:
    """A branch taken in one run of three has a median of nothing."""
    events = [run_event(start, 100) for start in (0, 1000, 2000)] + [node_event(1010, 50, "a", "Abs")]

    assert [node.ms for node in summarise(events, warm_up_runs=0, runs=3).nodes] == [0.0]


def test_a_trace_with_runs_missing_is_refused() -> None:
    """The profiler drops events without a word when its buffer is full."""
    with pytest.raises(OnnxPrepError, match="has 1 runs of 4"):
        summarise([run_event(0, 10)], warm_up_runs=1, runs=3)


def _save(path, nodes, outputs) -> None:
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 64])
    made = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs]
    weights = [helper.make_tensor("w", TensorProto.FLOAT, [64, 64], np.ones(64 * 64, np.float32))]
    graph = helper.make_graph(nodes, "g", [x], made, weights)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), str(path))


def test_the_profiler_itself_is_asked(tmp_path) -> None:
    """Nodes, runs and shapes are those of the session, and the graph that ran is handed back."""
    nodes = [helper.make_node("MatMul", ["x", "w"], ["m"], "product"), helper.make_node("Neg", ["m"], ["y"], "sign")]
    _save(tmp_path / "model.onnx", nodes, ["y"])
    (tmp_path / "work").mkdir()

    found = profile(tmp_path / "model.onnx", {"x": np.ones((512, 64), np.float32)}, tmp_path / "work")

    assert {node.operator for node in found.nodes} == {"MatMul", "Neg"}
    assert found.runs >= 3
    assert found.warm_up_runs >= 2
    assert found.nodes_ms > 0
    assert [node.op_type for node in found.optimised.graph.node] == ["MatMul", "Neg"]
    assert all(node.shapes[0] == "float[512, 64]" for node in found.nodes)


def test_a_model_that_does_not_run_is_said(tmp_path) -> None:
    """ONNX Runtime's own words are kept."""
    _save(tmp_path / "model.onnx", [helper.make_node("MatMul", ["x", "w"], ["y"])], ["y"])
    (tmp_path / "work").mkdir()

    with pytest.raises(OnnxPrepError, match="cannot be profiled"):
        profile(tmp_path / "model.onnx", {"x": np.ones((1, 3), np.float32)}, tmp_path / "work")
