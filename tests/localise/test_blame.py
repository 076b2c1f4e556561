"""Who is to blame, on real faults of this ONNX Runtime; and what the search leaves behind."""

from __future__ import annotations

import json

import numpy as np
import onnx
import onnxruntime
import torch
from torch import nn

from pytest_onnxprep.localise.run import localise
from tests.localise.conftest import RULE, change_constant, named

LINE = {"inputs": {"x": "float32[batch, 4]"}, "dims": {"batch": (1, 4)}, "at": {"batch": 3}}


def linear() -> nn.Module:
    """Two linear layers."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 2)).eval()


def wrong_weight(case):
    """An edit: the second layer's weights are off by one."""
    node = case.nodes("Gemm")[1]
    return lambda proto: change_constant(proto, named(proto, node.output[0]), 1, lambda w: w + 1)


def test_converter(planted):
    """Without optimisations the file is as wrong, and the reference agrees with that."""
    case = planted(linear(), "torchscript", **LINE)
    found = case.find(wrong_weight(case))

    assert found.blame == "converter"
    assert "the same wrong answer" in found.why
    assert found.layer == "2 (Linear)"


def test_optimiser(planted):
    """ONNX Runtime moves a scale behind a product, which overflows there."""

    class Scaled(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.full((4, 4), 1e20))

        def forward(self, x):
            return torch.matmul(x * 1e-20, self.weight) * 1e-20

    feeds = {"x": np.full((3, 4), 1e20, np.float32)}
    case = planted(Scaled().eval(), "torchscript", inputs=LINE["inputs"], dims=LINE["dims"], feeds=feeds)
    assert not np.isfinite(case.model.run(feeds)["output"]).all()

    found = case.find()

    assert found.blame == "optimiser"
    assert found.op_type in ("MatMul", "Mul")
    assert "FusedMatMul" in found.hint


def test_kernel(planted):
    """ONNX Runtime's ReduceMax drops NaN; the framework and the reference keep it."""

    class Highest(nn.Module):
        def forward(self, x):
            return torch.exp(torch.amax(torch.abs(x), 1))

    case = planted(
        Highest().eval(),
        "torchscript",
        inputs={"x": "float32[b, 3]"},
        dims={"b": (1, 2)},
        feeds={"x": np.array([[1, np.nan, 3], [1, 2, 3]], np.float32)},
    )
    found = case.find()

    assert found.blame == "kernel"
    assert found.op_type == "ReduceMax"
    assert "torch.amax(torch.abs(x), 1)" in found.source_line


def test_kernel_that_refuses(planted):
    """Same-padding with dilation is valid ONNX that ONNX Runtime refuses to run."""
    case = planted(
        nn.Sequential(nn.Conv2d(2, 3, 3, padding=2, dilation=2), nn.ReLU()).eval(),
        "torchscript",
        inputs={"x": "float32[b, 2, 9, 9]"},
        dims={"b": (1, 2)},
    )
    conv = case.nodes("Conv")[0]

    def same(proto):
        node = named(proto, conv.output[0])
        node.attribute.remove(next(one for one in node.attribute if one.name == "pads"))
        node.attribute.append(onnx.helper.make_attribute("auto_pad", "SAME_UPPER"))

    found = case.find(same)

    assert found.op_type == "Conv"
    assert "ONNX Runtime" in found.hint
    assert found.blame in ("kernel", "converter")


def test_subgraph_shows_the_fault_alone(planted, tmp_path):
    """The cut-out model runs on its own inputs and differs from the framework's value there."""
    case = planted(linear(), "torchscript", **LINE)
    found = case.find(wrong_weight(case), folder=tmp_path / "replay")

    folder = tmp_path / "replay"
    assert found.subgraph == folder / "subgraph.onnx"
    names = json.loads((folder / "subgraph.json").read_text())

    def load(name):
        with np.load(folder / name) as file:
            return {names[name][key]: file[key] for key in file.files}

    onnx.checker.check_model(str(found.subgraph))
    session = onnxruntime.InferenceSession(str(found.subgraph), providers=["CPUExecutionProvider"])
    (value,) = session.run(None, load("subgraph_feeds.npz"))
    (expected,) = load("subgraph_expected.npz").values()
    assert len(onnx.load(str(found.subgraph)).graph.node) == 1
    assert value.shape == expected.shape
    assert np.abs(value - expected).max() > 0.1


def test_two_onnx_files_have_no_layers_to_compare(planted, tmp_path):
    """Without a framework's values the search says so, and still blames."""
    case = planted(linear(), "torchscript", **LINE)
    other = planted(case.model.path, at={"batch": 3})
    found = other.find(wrong_weight(case))

    assert found.blame == "converter"
    assert "onnx" in found.limits


def test_search_never_raises(planted, tmp_path):
    """A file that cannot be read ends in a word, not in an exception."""
    case = planted(linear(), "torchscript", **LINE)
    model = case.edited(lambda proto: None)
    model.path.write_bytes(b"no model")
    found = localise(model, case.feeds, {"output": np.zeros((3, 2), np.float32)}, RULE)

    assert not found.found
    assert found.limits


def test_model_is_left_as_it_was(planted):
    """Buffers that a call changes are put back, and no hook stays."""
    model = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4)).eval()
    case = planted(model, "torchscript", **LINE)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    node = case.nodes("Gemm")[0]
    case.find(lambda p: change_constant(p, named(p, node.output[0]), 1, lambda w: w + 1))

    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert not torch.nn.modules.module._global_forward_pre_hooks


def test_one_screen(planted):
    """The rows say first where, then who."""
    case = planted(linear(), "torchscript", **LINE)
    found = case.find(wrong_weight(case))
    rows = dict(found.rows())

    assert found.node in rows["first divergence"]
    assert rows["layer"].startswith("2 (Linear)")
    assert rows["blame"].startswith("converter: ")
    assert json.loads(json.dumps(found.to_json()))["first_divergent_node"] == found.node


def test_time_is_bounded(planted):
    """A search without time says what it did not look at."""
    case = planted(linear(), "torchscript", **LINE)
    found = case.find(wrong_weight(case), max_s=0.0)

    assert found.seconds < 3
    assert found.blame == "converter"
