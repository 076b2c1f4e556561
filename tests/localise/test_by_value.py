"""Layers of nodes whose names tell nothing, found by what they compute."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from pytest_onnxprep.artifacts.onnx_model import OnnxModel
from pytest_onnxprep.localise.by_value import layers_by_value
from pytest_onnxprep.sources.load import load_source
from pytest_onnxprep.spec.signature import Signature
from pytest_onnxprep.spec.tensor import TensorSpec
from pytest_onnxprep.spec.variant import Variant

torch = pytest.importorskip("torch")


@pytest.fixture
def nameless(tmp_path):
    """Two layers in torch, and an ONNX file of the same weights in which no node has a name."""
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Linear(8, 16), torch.nn.Tanh(), torch.nn.Linear(16, 4)).eval()
    weights = [
        numpy_helper.from_array(tensor.detach().numpy().T.copy() if tensor.ndim == 2 else tensor.detach().numpy(), name)
        for name, tensor in net.state_dict().items()
    ]
    nodes = [
        helper.make_node("Gemm", ["x", "0.weight", "0.bias"], ["a"]),
        helper.make_node("Tanh", ["a"], ["b"]),
        helper.make_node("Gemm", ["b", "2.weight", "2.bias"], ["y"]),
    ]
    values = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", size]) for name, size in (("x", 8), ("y", 4))
    ]
    graph = helper.make_graph(nodes, "g", values[:1], values[1:], weights)
    path = tmp_path / "model.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), str(path))
    signature = Signature({"x": TensorSpec("float32", "n, 8")}, {"y": None}, {})
    return OnnxModel(path, signature, load_source(net, base=tmp_path), Variant("none", 17), {})


FEEDS = {"x": np.random.default_rng(0).normal(size=(5, 8)).astype(np.float32)}


def test_a_node_has_the_layer_whose_result_it_computes(nameless) -> None:
    """Each is led to its own module of the framework's model."""
    found = layers_by_value(nameless, FEEDS, max_s=120)

    assert {label: layer.path for label, layer in found.items()} == {"a": "0", "b": "1", "y": "2"}
    assert found["b"].kind == "Tanh"


def test_a_model_that_cannot_be_watched_has_no_such_layers(nameless) -> None:
    """The profile is made all the same."""
    assert layers_by_value(nameless, {"x": np.zeros((5, 7), np.float32)}) == {}
