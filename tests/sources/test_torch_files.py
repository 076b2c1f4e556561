"""Files of PyTorch's: TorchScript, exported programs, checkpoints; and inputs with a structure."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from pytest_onnxprep.api import assert_parity
from pytest_onnxprep.errors import SourceError
from pytest_onnxprep.sources.load import load_source
from pytest_onnxprep.spec.verdict import Verdict


@dataclasses.dataclass
class Answer:
    """What a model returns."""

    logits: torch.Tensor
    parts: tuple[torch.Tensor, torch.Tensor]


class Net(torch.nn.Module):
    """Positional, nested, optional and keyword-only inputs; a dataclass comes out."""

    def __init__(self):
        super().__init__()
        self.linear = torch.nn.Linear(4, 3)

    def forward(self, x, state: tuple[torch.Tensor, torch.Tensor], bias=None, *, scale=None):
        """An answer."""
        y = self.linear(x) + state[0]
        if bias is not None:
            y = y + bias
        if scale is not None:
            y = y * scale
        return Answer(y, (state[1], y.relu()))


class Branch(torch.nn.Module):
    """A branch that only scripting keeps."""

    def __init__(self):
        super().__init__()
        self.linear = torch.nn.Linear(4, 3)
        self.dropout = torch.nn.Dropout()

    def forward(self, x):
        """Doubled where the sum is positive."""
        y = self.dropout(self.linear(x))
        if y.sum() > 0:
            y = y * 2
        return y


INPUTS = {"x": "float32[batch, 4]", "state.0": "float32[batch, 3]", "state.1": "float32[batch, 3]"}


@pytest.fixture
def net():
    """A net of fixed weights."""
    torch.manual_seed(0)
    return Net().eval()


@pytest.mark.parametrize("exporter", ["dynamo", "torchscript"])
@pytest.mark.parametrize("more", [{}, {"bias": "float32[3]", "scale": "float32[3]"}])
def test_structured_inputs(onnx_exporter, net, exporter, more):
    """Dots name the parts of a parameter; optional ones may be left out; a dataclass is its fields."""
    model = onnx_exporter(net, inputs={**INPUTS, **more}, exporter=exporter)

    assert model.output_names == ["logits", "parts.0", "parts.1"]
    assert [value.name for value in model.session.get_inputs()] == [*INPUTS, *more]
    assert assert_parity(model, max_examples=10).verdict is Verdict.PASS


def test_scripted_file(onnx_exporter, tmp_path):
    """In inference mode whatever it was saved in, its branches kept; dynamo when it is asked for by name."""
    torch.manual_seed(0)
    path = tmp_path / "branch.pt"
    torch.jit.save(torch.jit.script(Branch().train()), str(path))
    model = onnx_exporter(str(path), inputs={"x": "float32[batch, 4]"})

    assert model.provenance["exporter"] == "torchscript"
    assert model.source.label == "branch.pt (TorchScript)"
    assert model.operators["If"] == 1
    assert assert_parity(model, max_examples=15).verdict is Verdict.PASS


def test_traced_file_by_both_exporters(onnx_exporter, tmp_path):
    """Torch's own converter is the way to dynamo."""
    path = tmp_path / "traced.ts"
    layers = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(144, 2))
    torch.jit.save(torch.jit.trace(layers.eval(), torch.randn(1, 3, 8, 8)), str(path))
    for exporter in ("torchscript", "dynamo"):
        model = onnx_exporter(path, inputs={"x": "float32[batch, 3, 8, 8]"}, exporter=exporter)
        assert assert_parity(model, max_examples=10).verdict is Verdict.PASS


def test_a_script_says_what_it_takes(onnx_exporter, tmp_path):
    """Its own declaration is in the message."""
    path = tmp_path / "branch.pt"
    torch.jit.save(torch.jit.script(Branch()), str(path))

    with pytest.raises(SourceError, match=r"does not say what it takes.*forward\(x: Tensor\)"):
        onnx_exporter(path)


def test_numbers_of_a_script(onnx_exporter, tmp_path):
    """A parameter that is a number is declared as a scalar of one value."""

    class Scaled(torch.nn.Module):
        def forward(self, x, rate: int):
            return x * rate

    path = tmp_path / "scaled.pt"
    torch.jit.save(torch.jit.script(Scaled()), str(path))
    source = load_source(path)
    from pytest_onnxprep import TensorSpec
    from pytest_onnxprep.spec.signature import Signature

    signature = Signature({"x": TensorSpec("float32", (2,)), "rate": TensorSpec("int64", (), low=3, high=4)})
    import numpy as np

    out = source.run({"x": np.ones(2, "float32"), "rate": np.int64(3).reshape(())}, signature)
    assert out["output"].tolist() == [3.0, 3.0]


@pytest.mark.parametrize("exporter", ["dynamo", "torchscript"])
def test_exported_program(onnx_exporter, net, tmp_path, exporter):
    """Object and file: inputs, their structure and the ranges of their sizes are the program's own."""
    batch = torch.export.Dim("batch", min=2, max=9)
    state = (torch.randn(2, 3), torch.randn(2, 3))
    plain = torch.nn.ModuleDict({"linear": net.linear})

    class Plain(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.parts = plain

        def forward(self, x, state, scale):
            y = self.parts["linear"](x) + state[0]
            return {"y": y * scale, "more": (state[1], y)}

    program = torch.export.export(
        Plain().eval(),
        (torch.randn(2, 4), state, torch.randn(3)),
        dynamic_shapes={"x": {0: batch}, "state": ({0: batch}, {0: batch}), "scale": None},
    )
    path = tmp_path / "net.pt2"
    torch.export.save(program, str(path))
    derived = load_source(program).derived_signature()
    model = onnx_exporter(path, exporter=exporter)

    assert {name: str(spec) for name, spec in derived.inputs.items()} == {
        "x": "float32[batch, 4]",
        "state_0": "float32[batch, 3]",
        "state_1": "float32[batch, 3]",
        "scale": "float32[3]",
    }
    assert (derived.dims["batch"].min, derived.dims["batch"].max) == (2, 9)
    assert model.output_names == ["y", "more.0", "more.1"]
    assert load_source(path).fingerprint().stable
    assert assert_parity(model, max_examples=10).verdict is Verdict.PASS


def refused(path):
    """The text of the refusal."""
    with pytest.raises(SourceError) as caught:
        load_source(path)
    return str(caught.value)


def test_weights_alone(net, tmp_path):
    """What they are, and the factory to write, with the key they stand under."""
    bare, nested, wrapped = tmp_path / "bare.pt", tmp_path / "nested.pth", tmp_path / "wrapped.ckpt"
    torch.save(net.state_dict(), bare)
    torch.save({"epoch": 3, "state_dict": net.state_dict()}, nested)
    torch.save({f"module.{name}": value for name, value in net.state_dict().items()}, wrapped)

    assert "holds weights only (linear.weight, linear.bias), and no model to put them into" in refused(bare)
    assert f"model.load_state_dict(torch.load({str(bare)!r}, weights_only=True))" in refused(bare)
    assert "weights_only=True)['state_dict'])" in refused(nested)
    assert "Its names begin with 'module.'" in refused(wrapped)


def test_safetensors(net, tmp_path):
    """Weights as well."""
    save_file = pytest.importorskip("safetensors.torch").save_file
    path = tmp_path / "net.safetensors"
    save_file(net.state_dict(), str(path))

    assert f"model.load_state_dict(safetensors.torch.load_file({str(path)!r}))" in refused(path)


def test_pickled_module(net, tmp_path):
    """A pickle is a program: it is named, and not run."""
    path = tmp_path / "module.pt"
    torch.save(net, path)

    text = refused(path)
    assert "is a pickled Python object" in text
    assert "Net" in text
    assert "so it was not read" in text


def test_torch_package(tmp_path):
    """It holds code, and how to load it is the user's decision."""
    path = tmp_path / "net.pt"
    with torch.package.PackageExporter(str(path)) as package:
        package.extern("torch.**")
        package.save_pickle("net", "model.pkl", torch.nn.Linear(2, 2))

    with pytest.raises(SourceError, match=r"is a torch\.package(?s:.*)PackageImporter"):
        load_source(path)
