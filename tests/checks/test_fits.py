"""The check ``fits``: real children under real limits."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from pytest_onnxprep.artifacts.onnx_model import OnnxModel
from pytest_onnxprep.checks import fits
from pytest_onnxprep.checks.accelerator import estimate
from pytest_onnxprep.checks.case import Case
from pytest_onnxprep.runtime.device import thread_counts
from pytest_onnxprep.spec.fits_request import FitsRequest
from pytest_onnxprep.spec.signature import Signature
from pytest_onnxprep.spec.target import Target
from pytest_onnxprep.spec.tensor import TensorSpec
from pytest_onnxprep.spec.variant import Variant
from pytest_onnxprep.spec.verdict import CheckResult, Verdict

MB = 10**6


def _write(path, size: int, operator: str = "Relu", shape=("n",)) -> None:
    """``y = op(x @ w)`` with a square weight."""
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [*shape, size]) for name in "xy")
    weight = helper.make_tensor(
        "w", TensorProto.FLOAT, [size, size], np.ones(size * size, np.float32).tobytes(), raw=True
    )
    nodes = [helper.make_node("MatMul", ["x", "w"], ["m"], "/fc/MatMul"), helper.make_node(operator, ["m"], ["y"])]
    graph = helper.make_graph(nodes, "g", [x], [y], [weight])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), str(path))


@pytest.fixture
def hold(tmp_path):
    """Hold a product of matrices to a device."""

    def run(size: int = 16, *, timed: bool = True, factor: float | None = None, **target: Any) -> CheckResult:
        path = tmp_path / "model.onnx"
        _write(path, size)
        signature = Signature({"x": TensorSpec("float32", f"batch, {size}")}, {"y": None}, {})
        model = OnnxModel(path, signature, None, Variant("none", 17), {})  # type: ignore[arg-type]
        request = FitsRequest(speed_factor=factor, target=Target("board", **target))
        return fits.run(Case(model, request, timed=timed))

    return run


def lines(result: CheckResult) -> dict[str, dict[str, Any]]:
    """The assessment by what was assessed."""
    return {line["what"]: line for line in result.figures["lines"]}


def test_times_are_shown_and_not_judged_without_a_factor(hold) -> None:
    """A deadline nobody could keep does not fail: a time of this machine says nothing of the device."""
    found = hold(cores=1, memory_bytes=2000 * MB, startup_ms=1e-6, deadline_ms=1e-6)

    assert found.verdict is Verdict.PASS
    assert found.figures["not_judged"] == ["start-up", "latency"]
    assert "as far as judged; not judged: start-up, latency (no measured speed_factor" in found.summary
    assert lines(found)["latency"]["value"] > 0
    assert lines(found)["latency"]["source"] == "measured on this machine"
    assert (found.figures["recommended_threads"], found.figures["cores_used"]) == (1, 1)


def test_times_are_scaled_by_the_factor_given(hold) -> None:
    """The mark's factor takes the place of the profile's; heat comes on top."""
    found = hold(cores=1, deadline_ms=1e9, factor=1e6, speed_factor=1.0, sustained_factor=2.0)

    line = lines(found)["latency"]
    assert line["source"] == "measured on this machine, times a given factor"
    assert line["value"] == pytest.approx(found.figures["thread_sweep"][0]["ms"] * 2e6)
    assert (found.verdict, found.summary) == (Verdict.PASS, "fits board")


def test_a_missed_deadline_fails(hold) -> None:
    """With a factor the verdict is a verdict."""
    found = hold(cores=1, deadline_ms=1e-6, factor=3)

    assert found.verdict is Verdict.FAIL
    assert found.summary.startswith("does not fit board: latency:")
    assert "x 3" in found.details


def test_a_model_that_needs_more_memory_dies_of_it(hold) -> None:
    """Weights of 100 MB do not load where 90 MB are left for everything."""
    found = hold(5000, cores=1, memory_bytes=90 * MB, deadline_ms=1.0)

    memory = lines(found)["memory"]
    assert found.verdict is Verdict.FAIL
    assert (memory["verdict"], memory["source"]) == ("does not fit", "simulated on this machine")
    assert "out of memory while loading the model" in found.summary
    assert lines(found)["latency"]["verdict"] == "not judged"
    assert found.figures["recommended_threads"] is None


def test_file_and_graph_are_held_to_the_profile(hold) -> None:
    """Operators with node and layer, opset and size on disk; nothing is timed for them under xdist."""
    found = hold(timed=False, cores=1, opset_max=16, disk_bytes=500, forbidden=("MatMul",), deadline_ms=1.0)

    assert found.verdict is Verdict.FAIL
    assert [line["what"] for line in found.figures["lines"] if line["verdict"] == "does not fit"] == [
        "operators",
        "opset",
        "disk",
    ]
    assert "forbidden: MatMul x1 (first at /fc/MatMul, fc)" in found.summary
    assert "opset 17 is newer than opset_max=16" in found.summary


def test_what_was_not_timed_is_no_pass(hold) -> None:
    """Under xdist an assessment in which nothing fails is skipped, and says how to have it made."""
    found = hold(timed=False, cores=1, opset_max=17, deadline_ms=1e9)

    assert found.verdict is Verdict.SKIP
    assert "not measured under xdist: run fits items with -n0" in found.summary


def test_a_provider_that_is_not_here_is_stood_in_for(hold) -> None:
    """The CPU runs the model in its place, and the assessment says so."""
    found = hold(timed=False, cores=1, memory_bytes=2000 * MB, provider="qnn")

    assert "the CPU stands in for the device's 'qnn'" in found.figures["machine"]


@pytest.mark.parametrize(("cores", "counts"), [(1, [1]), (2, [1, 2]), (4, [1, 2, 4]), (6, [1, 2, 4, 6])])
def test_thread_counts_double_up_to_the_cores(cores: int, counts: list[int]) -> None:
    """Powers of two, and all cores."""
    assert thread_counts(cores) == counts


@pytest.mark.parametrize(
    ("operator", "shape", "use", "fixed"),
    [("Relu", (1,), "useful", None), ("Relu", ("n",), "of no use", "useful"), ("Erf", (1,), "of no use", None)],
)
def test_the_mobile_checker_is_asked(tmp_path, operator: str, shape: tuple, use: str, fixed: str | None) -> None:
    """NNAPI takes fixed sizes only, and has no Erf."""
    _write(tmp_path / "model.onnx", 8, operator, shape)

    found = estimate(tmp_path / "model.onnx", "nnapi")

    assert (found.use, found.fixed and found.fixed.use) == (use, fixed)
    assert ("Erf" in found.lacking) == (operator == "Erf")
