"""The parts of the detection benchmark that run no model: sizes and values, the judge, records and figures."""

import json

import numpy as np
import pytest

from benchmarks.detection import plugin_runner, values
from benchmarks.detection.case import Case
from benchmarks.detection.judge import FAR, judge
from benchmarks.detection.score import Score
from pytest_onnxprep import Dim, TensorSpec
from pytest_onnxprep.spec.signature import Signature


def signature(spec=None, **dims):
    """One input."""
    return Signature({"x": spec or TensorSpec("float32", "batch, seq")}, None, {n: Dim(*d) for n, d in dims.items()})


def case(**given):
    """A case that is never built."""
    known = {"name": "a_case", "framework": "torch", "exporter": "dynamo", "link": "", "mechanism": ""}
    return Case(**known | {"model": lambda: None, "inputs": {"x": "float32[batch]"}} | given)


def test_few_sizes_are_all_tried():
    """Up to the limit, every combination; 0 where the range has it."""
    found = values.all_sizes(signature(batch=(0, 3), seq=(1, 5)))

    assert len(found) == 20
    assert {sizes["batch"] for sizes in found} == {0, 1, 2, 3}


def test_many_sizes_are_spread():
    """Beyond the limit: the traced sizes, every size of each dim where they fit, and all corners."""
    found = values.all_sizes(signature(batch=(1, 40), seq=(1, 90)), limit=200)

    assert len(found) == 200
    assert {"batch": 40, "seq": 90} in found
    assert {sizes["seq"] for sizes in found} == set(range(1, 91))


@pytest.mark.parametrize("kind", values.KINDS)
@pytest.mark.parametrize("dtype", ["float32", "float16", "int64", "uint8", "bool", "string"])
def test_values_are_of_the_dtype_and_the_same_again(kind, dtype):
    """A draw is all there is to know about its arrays."""
    declared = signature(TensorSpec(dtype, "batch, seq"))
    draw = values.Draw({"batch": 3, "seq": 4}, kind, 5)
    first, second = (values.make(declared, draw)["x"] for _ in range(2))

    assert first.shape == (3, 4)
    assert first.dtype.name in (dtype, "object")
    assert np.array_equal(first, second)


@pytest.mark.parametrize("kind", values.KINDS)
def test_values_stay_in_the_declared_range(kind):
    """Below ``high`` for integers, up to it for floats."""
    sizes = {"batch": 20, "seq": 30}
    whole = values.make(signature(TensorSpec("int64", "batch, seq", low=3, high=7)), values.Draw(sizes, kind, 1))["x"]
    real = values.make(signature(TensorSpec("float32", "batch, seq", low=-2, high=0.5)), values.Draw(sizes, kind, 1))

    assert whole.min() >= 3
    assert whole.max() <= 6
    assert real["x"].min() >= -2
    assert real["x"].max() <= 0.5


def test_rounding_is_no_bug():
    """Differences within the error of the reference itself are explained."""
    wide = np.linspace(0, 1, 100)
    narrow = wide.astype("float32")

    assert judge([narrow], [narrow + np.float32(1e-6)], [wide]).ratio < 1
    assert judge([narrow], [narrow + np.float32(1e-6)]).ratio < 1


@pytest.mark.parametrize(
    "actual",
    [
        np.ones((2, 2), "float32"),
        np.ones(2, "float64"),
        np.array([1, np.nan], "float32"),
        np.array([1, np.inf], "float32"),
        np.array([1, 1.01], "float32"),
    ],
    ids=["shape", "dtype", "nan", "infinity", "value"],
)
def test_more_than_rounding_is_told(actual):
    """Another shape, dtype, NaN, infinity or a value that is off by a percent."""
    assert judge([np.ones(2, "float32")], [actual]).ratio > FAR


def test_integers_are_exact_and_told_apart():
    """One off is wrong, and known to be of the discrete kind."""
    found = judge([np.array([1, 2])], [np.array([1, 3])])

    assert found.ratio == np.inf
    assert found.discrete


def result(check, verdict, **figures):
    """A record of the plugin's JSON report."""
    return {"check": check, "verdict": verdict, "figures": figures, "duration_s": 2.0, "summary": verdict}


def test_a_failed_parity_item_is_found():
    """Blame, node and seconds are read from its figures."""
    figures = {"blame": "converter", "first_divergent_node": "Conv_3", "seconds_to_failure": 0.25}
    record = plugin_runner._record(case(), [result("export", "pass", export_s=1), result("parity", "fail", **figures)])

    assert (record.outcome, record.blame, record.node, record.seconds) == ("found", "converter", "Conv_3", 0.25)
    assert record.total == 4.0


def test_a_refused_export_is_the_converters_fault():
    """No parity item ran, so there are no seconds to a failing example."""
    record = plugin_runner._record(case(), [result("export", "fail")])

    assert (record.outcome, record.blame, record.seconds) == ("found", "converter", None)


@pytest.mark.parametrize(
    ("verdict", "outcome"), [("pass", "quiet"), ("inconclusive", "inconclusive"), ("error", "error")]
)
def test_other_verdicts_find_nothing(verdict, outcome):
    """What a user sees as passed, as inconclusive, as a broken test."""
    assert plugin_runner._record(case(), [result("export", "pass"), result("parity", verdict)]).outcome == outcome


def test_what_comes_late_is_not_found():
    """The limit holds for export and parity together."""
    slow = result("parity", "fail") | {"duration_s": 40.0}

    assert plugin_runner._record(case(), [result("export", "pass"), slow]).outcome == "late"


def test_the_module_is_what_a_user_would_write(tmp_path):
    """It compiles, names the exporter or the edited file, and the tolerances only where they are asked for."""
    cases = [case(opset=18), case(name="edited", special_values=True)]
    default = plugin_runner._module(cases, {"edited": tmp_path / "e.onnx"}, explicit=False)
    explicit = plugin_runner._module(cases, {}, explicit=True)

    compile(default, "test_cases.py", "exec")
    assert "exporter='dynamo', opset=18" in default
    assert f"artifact={str(tmp_path / 'e.onnx')!r}" in default
    assert "@parity()" in default
    assert "@parity(special_values=True)" in default
    assert "@parity(atol=0.0001, rtol=0.0001)" in explicit


def test_a_tool_is_scored_over_all_cases():
    """What it does not take counts as not found, and is told."""
    assert Score("verify", "bugs", ["a"], ["b", "c"], ["c"], [0.1]).shown() == "1/3 (33 %), takes 2"
    assert Score("jax2onnx", "bugs", [], ["b"], ["b"], []).shown() == "n/a"
    assert json.dumps(plugin_runner.Record("a", "quiet").to_json())
