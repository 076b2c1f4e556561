"""Sessions and their types."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper

from pytest_onnxprep.errors import OnnxPrepError
from pytest_onnxprep.runtime.session import TensorInfo, make_session, provider_name, session_types


def save(path, nodes, inputs, outputs):
    """Write a model of a few nodes."""
    graph = helper.make_graph(nodes, "tiny", inputs, outputs)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


@pytest.fixture
def relu(tmp_path):
    """A model of two nodes with a named and a nameless dim."""
    value = helper.make_tensor_value_info
    return save(
        tmp_path / "relu.onnx",
        [helper.make_node("Relu", ["x"], ["y"]), helper.make_node("Relu", ["y"], ["z"])],
        [value("x", TensorProto.FLOAT, ["batch", None, 3])],
        [value("z", TensorProto.FLOAT, ["batch", None, 3])],
    )


@pytest.mark.parametrize("threads", [None, 1, 2])
@pytest.mark.parametrize("optimized", [True, False])
def test_session_runs_with_the_options_asked_for(relu, threads, optimized):
    """Threads, optimisation and spinning are as asked, and the model runs."""
    session = make_session(relu, threads=threads, optimized=optimized)
    options = session.get_session_options()
    levels = onnxruntime.GraphOptimizationLevel

    assert options.intra_op_num_threads == (threads or 0)
    assert options.inter_op_num_threads == 1
    assert options.get_session_config_entry("session.intra_op.allow_spinning") == "0"
    assert options.graph_optimization_level == (levels.ORT_ENABLE_ALL if optimized else levels.ORT_DISABLE_ALL)
    assert session.run(None, {"x": -np.ones((1, 2, 3), "float32")})[0].max() == 0


@pytest.mark.parametrize("name", [None, "cpu", "CPU", "CPUExecutionProvider"])
def test_providers_go_by_short_names(relu, name):
    """The CPU is the default and has a short name."""
    assert provider_name(name) == "CPUExecutionProvider"
    assert make_session(str(relu), provider=name).get_providers() == ["CPUExecutionProvider"]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("cqu", r"unknown execution provider 'cqu'; did you mean 'cpu'\? Available: .*CPUExecutionProvider"),
        (7, "unknown execution provider 7"),
    ],
)
def test_unknown_providers_list_what_there_is(relu, name, message):
    """A misspelt provider is an error that lists the available ones."""
    with pytest.raises(OnnxPrepError, match=message):
        make_session(relu, provider=name)


def test_missing_providers_list_what_there_is(relu, monkeypatch):
    """A provider of another build of ONNX Runtime is told apart from a misspelt one."""
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CPUExecutionProvider"])
    with pytest.raises(
        OnnxPrepError, match=r"CUDAExecutionProvider is not part of this ONNX Runtime .* Available: CPU"
    ):
        make_session(relu, provider="cuda")


def test_silent_fallback_is_an_error(relu, monkeypatch):
    """A provider that does not start must not be timed as if it had."""

    class OnCpu:
        def __init__(self, *args, **kwargs):
            pass

        def get_providers(self):
            return ["CPUExecutionProvider"]

    monkeypatch.setattr(
        onnxruntime, "get_available_providers", lambda: ["CUDAExecutionProvider", "CPUExecutionProvider"]
    )
    monkeypatch.setattr(onnxruntime, "InferenceSession", OnCpu)
    with pytest.raises(OnnxPrepError, match="could not start CUDAExecutionProvider and would run on CPUExecution"):
        make_session(relu, provider="cuda")


@pytest.mark.parametrize("threads", [0, -1, 1.5, True, "2"])
def test_bad_thread_counts_are_refused(relu, threads):
    """A thread count is a positive whole number or None."""
    with pytest.raises(OnnxPrepError, match="threads must be a whole number >= 1"):
        make_session(relu, threads=threads)


def test_types_of_a_session(relu):
    """Names, numpy dtypes and shapes come in the model's order, with nameless dims as None."""
    inputs, outputs = session_types(make_session(relu))

    assert inputs == [TensorInfo("x", "float32", ["batch", None, 3])]
    assert outputs == [("z", "float32", ["batch", None, 3])]


@pytest.mark.parametrize(
    ("element", "dtype"),
    [
        ("FLOAT16", "float16"),
        ("DOUBLE", "float64"),
        ("INT64", "int64"),
        ("UINT8", "uint8"),
        ("BOOL", "bool"),
        ("STRING", "string"),
    ],
)
def test_element_types_have_numpy_names(tmp_path, element, dtype):
    """Element types are named as numpy names them."""
    value = helper.make_tensor_value_info
    kind = getattr(TensorProto, element)
    path = save(
        tmp_path / "m.onnx",
        [helper.make_node("Identity", ["x"], ["y"])],
        [value("x", kind, [2])],
        [value("y", kind, [2])],
    )

    assert session_types(make_session(path)) == ([("x", dtype, [2])], [("y", dtype, [2])])


def test_sequences_keep_their_own_type(tmp_path):
    """What is not a tensor has no numpy dtype and keeps ONNX Runtime's text."""
    path = save(
        tmp_path / "m.onnx",
        [helper.make_node("SequenceConstruct", ["x"], ["y"])],
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [2])],
        [helper.make_tensor_sequence_value_info("y", TensorProto.FLOAT, None)],
    )

    _, outputs = session_types(make_session(path))

    assert outputs[0].dtype == "seq(tensor(float))"
