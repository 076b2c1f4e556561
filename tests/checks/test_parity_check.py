"""The parity check on hand-made graphs and numpy references: no framework, no pytest."""

from __future__ import annotations

import json

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from pytest_onnxprep.artifacts.onnx_model import OnnxModel
from pytest_onnxprep.checks import arbiter, export, parity, size
from pytest_onnxprep.checks.case import Case
from pytest_onnxprep.errors import OnnxPrepError, ReferenceRefused, SourceError, SpecError
from pytest_onnxprep.sources.base import Source
from pytest_onnxprep.sources.source_code import Digest
from pytest_onnxprep.spec.check_requests import read_parity, read_size
from pytest_onnxprep.spec.dims import Dim
from pytest_onnxprep.spec.signature import Signature
from pytest_onnxprep.spec.tensor import TensorSpec
from pytest_onnxprep.spec.variant import Variant
from pytest_onnxprep.spec.verdict import Verdict

TYPES = {"float32": TensorProto.FLOAT, "float16": TensorProto.FLOAT16, "int64": TensorProto.INT64}


def _wide(array):
    return array.astype(float) if array.dtype.kind == "f" else array


class Numpy(Source):
    """A reference written in numpy."""

    framework = "numpy"
    label = "a numpy function"

    def __init__(self, function) -> None:
        self.model = self.function = function

    def run(self, feeds, signature):
        """See `Source.run`."""
        return {"y": np.asarray(self.function(feeds["x"]))}

    def in_double(self, signature):
        """A numpy function takes what it is given."""
        return lambda feeds: self.run(
            {name: array.astype(float) if array.dtype.kind == "f" else array for name, array in feeds.items()},
            signature,
        )

    def fingerprint(self):
        """Never the same."""
        return Digest("", False)


@pytest.fixture
def hold(tmp_path):
    """Hold ``y = op(x)`` to a numpy function."""

    def run(function, op="Identity", *, spec=None, dims=None, examples=60, samples=None, **request):
        spec = spec or TensorSpec("float32", "batch, 3")
        kind = TYPES[spec.dtype]
        shape = [str(dim) if not dim.is_static else int(str(dim)) for dim in spec.shape]
        values = [helper.make_tensor_value_info(name, kind, shape) for name in "xy"]
        graph = helper.make_graph([helper.make_node(op, ["x"], ["y"])], "g", values[:1], values[1:])
        path = tmp_path / "model.onnx"
        onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), str(path))
        signature = Signature({"x": spec}, {"y": None}, dims or {})
        model = OnnxModel(path, signature, Numpy(function), Variant("none", 17), {})
        folder = tmp_path / "replay"
        case = Case(model, read_parity(**request), examples=examples, samples=samples or {}, replay_folder=folder)
        return parity.run(case)

    return run


def test_equal_models_pass(hold):
    """As many examples as asked for, no error, and every size of the range's ends tried."""
    found = hold(lambda x: x)

    assert found.verdict is Verdict.PASS
    assert (found.figures["examples"], found.figures["refused"], found.figures["max_abs"]) == (60, 0, 0)
    assert found.figures["sizes_tried"] == {"batch": [1, 8]}
    assert found.details == ""
    json.dumps(dict(found.figures))


BUGS = {
    "negative numbers": lambda x: np.abs(x),
    "one row of many": lambda x: np.where(np.arange(len(x))[:, None] == 6, x + 1, x),
    "exactly zero": lambda x: np.where(x == 0, np.float32(1), x),
    "halves": lambda x: np.where(x == 0.5, np.float32(1), x),
    "equal rows": lambda x: x + 1 if len(x) > 1 and (x == x[0]).all() and x.any() else x,
    "batch of one": lambda x: x * 2 if len(x) == 1 else x,
    "largest batch": lambda x: x * 2 if len(x) == 8 else x,
    "odd batches": lambda x: x[::-1].copy() if len(x) == 3 else x,
    "shape": lambda x: x.reshape(1, -1),
    "dtype": lambda x: x.astype("float64"),
    "nan": lambda x: np.where(x > 1, np.float32(np.nan), x),
}


@pytest.mark.parametrize("function", BUGS.values(), ids=BUGS)
def test_a_difference_is_found(hold, function):
    """Signs, zeros, rounding boundaries, rows, sizes, shapes, dtypes and NaN are all tried."""
    found = hold(lambda x: function(x).astype(x.dtype) if function is not BUGS["dtype"] else function(x), examples=300)

    assert found.verdict is Verdict.FAIL
    assert found.summary
    assert "\n" not in found.summary
    json.dumps(dict(found.figures), allow_nan=True)


def test_underflow_is_nobodys_fault(hold):
    """Processors and kernels may make zero of what is below the smallest normal number."""
    found = hold(lambda x: np.where(np.abs(x) < 1.2e-38, x.dtype.type(0), x), examples=300)

    assert found.verdict is Verdict.PASS


def test_precision_that_only_tiny_outputs_lose(hold):
    """ONNX Runtime's Elu is exp(x) - 1: off by 2e-8 near zero, which is nothing beside what Elu usually returns."""

    def elu(x):
        return np.where(x > 0, x, np.expm1(np.minimum(x, 0)))

    assert hold(elu, op="Elu", examples=300).verdict is Verdict.PASS
    assert hold(elu, op="Elu", spec=TensorSpec("float32", "batch, 3", low=-1e-5, high=0)).verdict is Verdict.FAIL


def test_when_time_for_float64_is_over(hold, monkeypatch):
    """Differences no larger than those float64 has settled are let pass; where it settled none, they are not."""

    def rough(x):
        return (x + x.dtype.type(1e4)) - x.dtype.type(1e4)

    monkeypatch.setattr(arbiter.Arbiter, "_nudged", lambda *_: [])
    monkeypatch.setattr(arbiter, "DOUBLE_S", 0.0)
    spec = TensorSpec("float32", "4096", low=1, high=2)
    monkeypatch.setattr(arbiter, "URGENT_S", 0.0)
    assert hold(rough, spec=spec).verdict is Verdict.FAIL
    monkeypatch.setattr(arbiter, "URGENT_S", 1.0)
    assert hold(rough, spec=spec).verdict is not Verdict.FAIL


def test_a_difference_outside_the_declared_range_is_not_drawn(hold):
    """low= and high= keep fuzzing inside what the model is made for."""
    spec = TensorSpec("float32", "batch, 3", low=0, high=1)

    assert hold(np.abs, spec=spec).verdict is Verdict.PASS


def test_infinities_come_only_when_asked_for(hold):
    """special_values reaches what plain fuzzing does not."""

    def function(x):
        return np.where(np.isfinite(x), x, np.float32(0))

    assert hold(function).verdict is Verdict.PASS
    assert hold(function, special_values=True, examples=300).verdict is Verdict.FAIL


def test_the_smallest_example_is_told(hold):
    """Size, values and seed are as small and plain as the failure allows."""
    found = hold(lambda x: x * 2 if len(x) >= 6 else x, dims={"batch": Dim(1, 99)})
    minimal = found.figures["minimal"]

    assert minimal["dims"] == {"batch": 6}
    assert minimal["seed"] == 0
    assert "batch=6" in found.summary


def test_index_and_values_are_those_of_the_worst_element(hold):
    """The place that is shown is the place that is wrong."""

    def function(x):
        y = x.copy()
        y[0, 2] += 0.5
        return y

    figures = hold(function).figures

    assert figures["index"] == [0, 2]
    assert figures["expected"] - figures["actual"] == pytest.approx(0.5)
    assert figures["wrong_share"] == pytest.approx(1 / 3)
    assert figures["tightest"]["atol"] == pytest.approx(0.5, rel=1e-3)


def test_a_pass_tells_its_tightest_tolerance(hold):
    """How much room is left is known from a pass too."""
    figures = hold(lambda x: x + np.float32(0.125), atol=1).figures

    assert figures["tightest"]["atol"] == pytest.approx(0.125, rel=1e-5)


@pytest.mark.parametrize("size", ["7", "()"])
def test_static_shapes_and_lone_numbers(hold, size):
    """Models without dynamic dims, down to a single number, are fuzzed by value."""
    spec = TensorSpec("float32", size if size != "()" else ())

    assert hold(lambda x: x, spec=spec).verdict is Verdict.PASS
    assert hold(lambda x: np.abs(x), spec=spec).verdict is Verdict.FAIL


def test_integers_are_exact(hold):
    """A tolerance does not blur integers."""
    spec = TensorSpec("int64", "batch")

    assert hold(lambda x: x, spec=spec, atol=10).verdict is Verdict.PASS
    assert hold(lambda x: x + 1, spec=spec, atol=10).verdict is Verdict.FAIL


def test_half_precision_is_held_to_half_precision(hold):
    """Without numbers, doubling a float16 output is a failure and rounding it is none."""
    spec = TensorSpec("float16", "batch, 3")

    assert hold(lambda x: x * np.float16(2), spec=spec).verdict is Verdict.FAIL
    assert hold(lambda x: x * np.float16(1.001), spec=spec).verdict is Verdict.PASS


def test_empty_batches_are_tried_where_they_are_legal(hold):
    """A dim that starts at 0 is tried at 0."""

    def function(x):
        return x if len(x) else x.reshape(0, 3, 1)

    assert hold(function).verdict is Verdict.PASS
    assert hold(function, dims={"batch": Dim(0, 8)}).verdict is Verdict.FAIL


def test_own_samples_come_first(hold):
    """A failing sample is told by its name, unshrunk."""
    found = hold(lambda x: -x, samples={"cat.npz": {"x": np.ones((2, 3), "f")}})

    assert found.figures["minimal"] == {"sample": "cat.npz"}
    assert found.figures["examples"] == 1
    assert "cat.npz" in found.summary


def test_refused_examples_are_counted(hold):
    """What the reference does not take is no failure; the summary tells how many and why."""

    def function(x):
        if len(x) % 2:
            raise ReferenceRefused("odd")
        return x

    found = hold(function)

    assert found.verdict is Verdict.PASS
    assert found.figures["refused"] > 0
    assert "odd" in found.figures["first_refusal"]


def test_everything_refused_is_an_error(hold):
    """Nothing compared is nothing passed."""

    def function(x):
        raise ReferenceRefused("never")

    with pytest.raises(SourceError, match="refused all"):
        hold(function)


def test_a_refused_sample_is_an_error(hold):
    """The user's own input must at least run on the user's own model."""

    def function(x):
        raise ReferenceRefused("never")

    with pytest.raises(OnnxPrepError, match=r"cat\.npz"):
        hold(function, samples={"cat.npz": {"x": np.ones((2, 3), "f")}})


def test_what_onnx_runtime_refuses_is_a_failure(hold):
    """The framework takes it and the file does not: a bug of the conversion."""

    def function(x):
        return x

    found = hold(function, "Identity", samples={"wide": {"x": np.ones((2, 4), "f")}})

    assert found.verdict is Verdict.FAIL
    assert "ONNX Runtime refuses" in found.summary


def test_a_random_reference_is_named(hold):
    """Two runs that differ are told before any comparison."""
    generator = np.random.default_rng(0)
    found = hold(lambda x: x + generator.random(x.shape, "f"), atol=10)

    assert found.verdict is Verdict.FAIL
    assert "not repeatable" in found.summary


def test_outputs_select_and_loosen(hold):
    """outputs= with a tolerance replaces the common one."""

    def function(x):
        return x + np.float32(0.01)

    assert hold(function).verdict is Verdict.FAIL
    assert hold(function, outputs={"y": 0.02}).verdict is Verdict.PASS


def test_unknown_outputs_are_refused(hold):
    """A name the model does not have is an error, with those it has."""
    with pytest.raises(SpecError, match="no output 'z'"):
        hold(lambda x: x, outputs=["z"])


def test_metrics_are_reported_and_judged(hold):
    """min_sqnr_db alone replaces the tolerance, and the worst example counts."""
    spec = TensorSpec("float32", "batch, 3", low=1, high=2)

    assert hold(lambda x: x * np.float32(1.001), spec=spec, min_sqnr_db=50).figures["metrics"]["sqnr_db"] > 55
    assert hold(lambda x: x * np.float32(1.001), spec=spec, min_sqnr_db=70).verdict is Verdict.FAIL


def test_the_onnx_oracle_needs_no_framework(hold):
    """oracle="onnx" compares with ONNX's reference evaluator."""
    found = hold(lambda x: -x, oracle="onnx", max_examples=10)

    assert found.verdict is Verdict.PASS
    assert found.figures["oracle"] == "onnx"


@pytest.mark.parametrize("examples", [1, 13, 100])
def test_the_number_of_examples(hold, examples):
    """No more than asked for, no less."""
    assert hold(lambda x: x, max_examples=examples).figures["examples"] == examples


def test_a_run_is_repeatable(hold):
    """The same failure is found twice, at the same example."""
    minimal = [hold(BUGS["one row of many"]).figures["minimal"] for _ in range(2)]

    assert minimal[0] == minimal[1]


# the small checks beside it -------------------------------------------------------------------------------------------


@pytest.fixture
def model(tmp_path):
    """A file with a weight of 400 bytes and two nodes."""
    weight = onnx.numpy_helper.from_array(np.ones(100, "f"), "w")
    nodes = [helper.make_node("Add", ["x", "w"], ["s"]), helper.make_node("Relu", ["s"], ["y"])]
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [100]) for name in "xy"]
    graph = helper.make_graph(nodes, "g", values[:1], values[1:], [weight])
    path = tmp_path / "model.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), str(path))
    signature = Signature({"x": TensorSpec("float32", "100")}, {"y": None})
    return OnnxModel(path, signature, Numpy(lambda x: x), Variant("none", 17), {"export_s": 1.5})


@pytest.mark.parametrize(
    ("budget", "verdict"),
    [
        ({"nodes": 2}, "pass"),
        ({"nodes": 1}, "fail"),
        ({"weights_mb": 0.0004}, "pass"),
        ({"weights_mb": 0.000399}, "fail"),
        ({"mb": 1, "nodes": 1}, "fail"),
        ({"mb": 1, "weights_mb": 1, "nodes": 5}, "pass"),
    ],
)
def test_size_budgets(model, budget, verdict):
    """A budget is met up to and including its number; a megabyte is 10**6 bytes."""
    found = size.run(Case(model, read_size(**budget)))

    assert found.verdict.value == verdict
    assert found.figures["weights_mb"] == 0.0004
    assert found.figures["mb"] == model.path.stat().st_size / 1e6
    assert found.figures["budget"] == budget


def test_an_excess_names_the_largest_weight(model):
    """What takes the room is shown."""
    assert "w [100]" in size.run(Case(model, read_size(mb=1e-6))).details


def test_the_export_check_describes_the_file(model):
    """Seconds, opset, nodes and operators."""
    found = export.run(Case(model, None))

    assert found.verdict is Verdict.PASS
    assert found.figures["operators"] == {"Add": 1, "Relu": 1}
    assert (found.figures["opset"], found.figures["nodes"], found.figures["export_s"]) == (17, 2, 1.5)
