"""The watchdog: a run of ONNX Runtime that does not end is ended, and others are left alone."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from pytest_onnxprep.errors import OnnxPrepError
from pytest_onnxprep.runtime import watchdog
from pytest_onnxprep.runtime.session import make_session

FLOAT, INT64, BOOL = TensorProto.FLOAT, TensorProto.INT64, TensorProto.BOOL
value = helper.make_tensor_value_info


def turning(path: Path) -> Path:
    """``y = x + 0``, after ``x * 10**7`` turns of a loop: some ten seconds where ``x`` is one."""
    body = helper.make_graph(
        [helper.make_node("Identity", ["c"], ["d"]), helper.make_node("Add", ["v", "v"], ["w"])],
        "body",
        [value("i", INT64, []), value("c", BOOL, []), value("v", FLOAT, [1])],
        [value("d", BOOL, []), value("w", FLOAT, [1])],
    )
    nodes = [
        helper.make_node("Mul", ["x", "most"], ["m"]),
        helper.make_node("Cast", ["m"], ["turns"], to=INT64),
        helper.make_node("Loop", ["turns", "yes", "zero"], ["v"], body=body),
        helper.make_node("Add", ["x", "v"], ["y"]),
    ]
    given = [
        numpy_helper.from_array(np.array(True), "yes"),
        numpy_helper.from_array(np.zeros(1, np.float32), "zero"),
        numpy_helper.from_array(np.float32(1e7), "most"),
    ]
    graph = helper.make_graph(nodes, "g", [value("x", FLOAT, [1])], [value("y", FLOAT, [1])], given)
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    path.write_bytes(proto.SerializeToString())
    return path


def feeds(x: float) -> dict[str, Any]:
    """How many turns, in units of ten million."""
    return {"x": np.full(1, x, np.float32)}


@pytest.fixture
def call(tmp_path: Path) -> Any:
    """``run`` of a session."""
    return make_session(turning(tmp_path / "turning.onnx")).run


def test_a_run_that_does_not_end_is_ended(call: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """It fails with what to do, and so does what is run after it; without a watch all is as before."""
    monkeypatch.setattr(watchdog, "SECONDS", 0.5)
    monkeypatch.setattr(watchdog, "_LOOK_S", 0.1)
    with watchdog.watching():
        assert watchdog.run(call, None, feeds(0), "net")[0].tolist() == [0]
        started = time.monotonic()
        with pytest.raises(OnnxPrepError, match=r"net: a run was stopped, .* within 0 s; the graph may loop for ever"):
            watchdog.run(call, None, feeds(1), "net")
        assert time.monotonic() - started < 5
        with pytest.raises(OnnxPrepError, match="a run was stopped"):
            watchdog.run(call, None, feeds(0.001), "net")

    assert watchdog.run(call, None, feeds(0.001), "net")[0].tolist() == pytest.approx([0.001])


def test_a_model_that_took_long_from_the_first_has_longer(call: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A hundred times the first run."""
    monkeypatch.setattr(watchdog, "_LOOK_S", 0.01)
    with watchdog.watching():
        watchdog.run(call, None, feeds(0.03), "net")
        monkeypatch.setattr(watchdog, "SECONDS", 0.02)

        assert len(watchdog.run(call, None, feeds(0.2), "net")) == 1
        with pytest.raises(OnnxPrepError):
            watchdog.run(call, None, feeds(0.2), "another, of which nobody knows")


def test_errors_of_the_model_are_its_own(call: Any) -> None:
    """Watched or not."""
    with watchdog.watching(), pytest.raises(Exception, match="x") as caught:
        watchdog.run(call, None, {"x": np.zeros((2, 2), np.float32)}, "net")
    assert not isinstance(caught.value, OnnxPrepError)


def test_the_thread_is_gone_with_the_check(call: Any) -> None:
    """Nothing looks on while times are taken; a check within a check has none of its own."""

    def threads() -> int:
        return sum(thread.name == "onnxprep-watchdog" for thread in threading.enumerate())

    with watchdog.watching():
        assert threads() == 1
        with watchdog.watching():
            watchdog.run(call, None, feeds(0), "net")
            assert threads() == 1
        assert threads() == 1
    assert threads() == 0
