"""What the arbiter makes of a difference, of a reference that has no float64."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from pytest_onnxprep.artifacts.onnx_model import OnnxModel
from pytest_onnxprep.checks.arbiter import Arbiter
from pytest_onnxprep.compare.conditioning import Cause
from pytest_onnxprep.compare.elementwise import compare
from pytest_onnxprep.runtime.double_graph import DoubleGraph
from pytest_onnxprep.sources.base import Source
from pytest_onnxprep.sources.source_code import Digest
from pytest_onnxprep.spec.signature import Signature
from pytest_onnxprep.spec.tensor import TensorSpec
from pytest_onnxprep.spec.tolerance import Tolerance
from pytest_onnxprep.spec.variant import Variant

SIZE = 64


class Opaque(Source):
    """A reference without any twin, as LiteRT's interpreter is."""

    framework = "tflite"
    label = "a file"

    def __init__(self):
        self.model = None

    def run(self, feeds, signature):
        """See `Source.run`."""
        return {"y": loudness(feeds["x"])}

    def in_double(self, signature):
        """There is none."""

    def fingerprint(self):
        """Never the same."""
        return Digest("", False)


def loudness(x):
    """The logarithm of a signal, spread over 0..1: of silence, nothing but rounding is spread."""
    level = np.log(x * x + np.float32(1e-10))
    level = level - level.min()
    return np.asarray(level / (level.max() + np.float32(1e-12)), np.float32)


@pytest.fixture
def arbiter(tmp_path):
    """For the same as a graph."""
    nodes = [
        helper.make_node("Mul", ["x", "x"], ["power"]),
        helper.make_node("Add", ["power", "tiny"], ["floor"]),
        helper.make_node("Log", ["floor"], ["level"]),
        helper.make_node("ReduceMin", ["level"], ["low"]),
        helper.make_node("Sub", ["level", "low"], ["above"]),
        helper.make_node("ReduceMax", ["above"], ["high"]),
        helper.make_node("Add", ["high", "least"], ["range"]),
        helper.make_node("Div", ["above", "range"], ["y"]),
    ]
    constants = {"tiny": 1e-10, "least": 1e-12}
    tensors = [onnx.numpy_helper.from_array(np.array(value, np.float32), name) for name, value in constants.items()]
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [SIZE]) for name in "xy"]
    graph = helper.make_graph(nodes, "loudness", values[:1], values[1:], tensors)
    path = tmp_path / "model.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    signature = Signature({"x": TensorSpec("float32", str(SIZE))}).with_outputs(["y"])
    model = OnnxModel(path, signature, Opaque(), Variant("none", 17), {})
    return Arbiter(model, model.reference, lambda _: Tolerance())


def ruling(arbiter, x, expected, actual):
    """On one output."""
    difference = compare("y", expected, actual, Tolerance())
    assert not difference.matches
    return arbiter.rule({"x": x}, {"y": expected}, {"y": actual}, difference)


def test_silence_is_no_fault(arbiter):
    """One logarithm of equal numbers that is rounded the other way becomes 1, and neither side is to blame."""
    x, expected = np.zeros(SIZE, np.float32), np.zeros(SIZE, np.float32)
    actual = expected.copy()
    actual[-1] = 1.0

    found = ruling(arbiter, x, expected, actual)

    assert (found.fails, found.cause) == (False, Cause.ILL_CONDITIONED)


def test_silence_is_no_fault_where_float64_takes_too_long(arbiter, monkeypatch):
    """The file itself is run with noise in it."""
    monkeypatch.setattr(DoubleGraph, "run", lambda *_: None)
    monkeypatch.setattr(DoubleGraph, "rounded", lambda *_: None)
    x, expected = np.zeros(SIZE, np.float32), np.zeros(SIZE, np.float32)
    actual = expected.copy()
    actual[-1] = 1.0

    found = ruling(arbiter, x, expected, actual)

    assert (found.fails, found.cause) == (False, Cause.ILL_CONDITIONED)


def test_a_fault_in_a_signal_is_one(arbiter):
    """Where the file's own rounding moves nothing, a difference remains a fault."""
    x = np.linspace(0.1, 2, SIZE, dtype=np.float32)
    expected = loudness(x)
    actual = expected.copy()
    actual[5] += 0.05

    found = ruling(arbiter, x, expected, actual)

    assert (found.fails, found.cause) == (True, Cause.UNEXPLAINED)


def test_twin_of_variants_that_name_their_outputs_differently(arbiter):
    """A rewritten model's names are its own; the reference's float64 answers to them too."""

    class Twin(Opaque):
        def in_double(self, signature):
            (name,) = signature.outputs
            return lambda feeds: {name: loudness(feeds["x"]).astype("float64")}

    source, first = Twin(), arbiter._model
    for name in ("y", "z"):
        signature = Signature(first.signature.inputs).with_outputs([name])
        model = OnnxModel(first.path, signature, source, first.variant, {})
        found = Arbiter(model, model.reference, lambda _: Tolerance()).in_double({"x": np.ones(SIZE, "float32")})
        assert list(found) == [name]
