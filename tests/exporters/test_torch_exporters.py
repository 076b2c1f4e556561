"""Both torch exporters, on the models they trip over: the file keeps its contract, the module stays as it was."""

from __future__ import annotations

import collections
import copy
import dataclasses
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("onnxscript")
from torch import nn  # noqa: E402

from pytest_onnxprep.compare.outputs import Rule  # noqa: E402
from pytest_onnxprep.compare.replay import write_replay  # noqa: E402
from pytest_onnxprep.errors import ContractViolation, ExporterError, ExportFailed, SourceError  # noqa: E402
from pytest_onnxprep.exporters import torch_common  # noqa: E402

BOTH = pytest.mark.parametrize("exporter", ["torchscript", "dynamo"])
X = {"x": "float32[batch, 3]"}
Pair = collections.namedtuple("Pair", "p q")


@dataclasses.dataclass
class Result:
    logits: Any
    extra: Any = None


class Nested(nn.Module):
    """Outputs in every container, a None among them."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(3, 2)

    def forward(self, x, y, *, scale):
        return self.linear(x), {"a": y * scale, "b": [y + 1, None, y - 1]}, None, Pair(x, Result(x * 2))


NESTED = {"y": "float32[batch, k]", "x": "float32[batch, 3]", "scale": "float32[batch, 1]"}


class InPlace(nn.Module):
    def forward(self, x):
        x.add_(1)
        x[:, 0] = 5
        return x * 2


class Stateful(nn.Module):
    """Counts its calls in a buffer and in an attribute, and keeps what it saw."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("count", torch.zeros(()))
        self.register_buffer("table", torch.ones(2, dtype=torch.bfloat16))
        self.norm = nn.BatchNorm1d(3)
        self.drop = nn.Dropout()
        self.calls = 0
        self.last = None

    def forward(self, x):
        self.count = self.count + 1
        self.calls += 1
        self.last = self.drop(self.norm(x))
        return self.last


class Window(nn.Module):
    def forward(self, ids, past, mask):
        return torch.cat([past, ids.float()], 1) * mask


WINDOW = {"ids": "int64[batch, seq]", "past": "float32[batch, past]", "mask": "float32[batch, past + seq]"}


class Branch(nn.Module):
    def forward(self, x):
        if x.sum() > 0:
            return x * 2
        return x - 1


class Loop(nn.Module):
    def forward(self, x):
        total = x[:, 0]
        for index in range(1, x.shape[1]):
            total = total * 0.5 + x[:, index]
        return total


class Svd(nn.Module):
    def forward(self, x):
        return torch.linalg.svdvals(x)


class Pool(nn.Module):
    def forward(self, x):
        return nn.functional.adaptive_avg_pool2d(x, (2, 2))


class Scripted(nn.Module):
    def forward(self, x: torch.Tensor, y: torch.Tensor):
        result = x * 2 if bool(x.sum() > 0) else x - 1
        return result, y + x


@BOTH
def test_nested_outputs_are_flattened_and_named(export, exporter):
    """Keywords bind by name whatever their order, and every container gives its tensors a name; None gives none."""
    model = export(Nested().eval(), exporter, inputs=NESTED)

    assert list(export.inputs(model)) == ["y", "x", "scale"]
    assert list(export.outputs(model)) == [
        "output_0",
        "output_1.a",
        "output_1.b.0",
        "output_1.b.2",
        "output_3.p",
        "output_3.q.logits",
    ]
    export.agrees(model, batch=5, k=1)


@BOTH
def test_outputs_are_selected_and_reordered(export, exporter):
    """Declared names that the model uses itself select those outputs, in the declared order."""
    model = export(Nested().eval(), exporter, inputs=NESTED, outputs=["output_1.a", "output_0"])

    assert list(export.outputs(model)) == ["output_1.a", "output_0"]
    export.agrees(model, batch=4)


def test_input_that_was_dropped_breaks_the_contract(export):
    """The TorchScript exporter leaves out an input that no output needs, and the message says which."""
    with pytest.raises(ContractViolation, match="the file lacks scale: converters drop"):
        export(Nested().eval(), "torchscript", inputs=NESTED, outputs=["output_1.b.2", "output_0"])


@BOTH
def test_outputs_are_renamed_and_their_dims_declared(export, exporter):
    """A name for every output renames them all, and declared output dims are in the file."""
    outputs = {"sum": "float32[batch, past + seq]"}
    model = export(Window().eval(), exporter, inputs=WINDOW, outputs=outputs)

    assert export.inputs(model) == {"ids": ["batch", "seq"], "past": ["batch", "past"], "mask": ["batch", "past + seq"]}
    assert export.outputs(model) == {"sum": ["batch", "past + seq"]}
    export.agrees(model, batch=1, past=3, seq=5)


@BOTH
def test_inputs_bind_in_order_where_the_names_are_others(export, exporter):
    """Names that are no parameters of forward are names for the file alone."""
    model = export(nn.Linear(3, 2).eval(), exporter, inputs={"pixels": "float32[n, 3]"}, outputs=["scores"])

    assert (export.inputs(model), list(export.outputs(model))) == ({"pixels": ["n", 3]}, ["scores"])
    export.agrees(model, n=1)


@BOTH
def test_feeds_are_never_written_to(export, exporter):
    """A module that works in place gets copies, in the reference and in the trace."""
    model = export(InPlace().eval(), exporter, inputs=X)
    feeds = {"x": np.ones((2, 3), np.float32)}
    model.reference(feeds)

    assert (feeds["x"] == 1).all()
    export.agrees(model, batch=4)


@BOTH
def test_module_is_left_as_it_was(export, exporter):
    """Train and eval flags one by one, weights, buffers, attributes and hooks survive an export."""
    module = Stateful().train()
    module.norm.eval()
    module.register_forward_hook(lambda _module, _inputs, output: output + 1)
    flags = {name: child.training for name, child in module.named_modules()}
    state = copy.deepcopy(module.state_dict())
    hooks = dict(module._forward_hooks)
    export(module, exporter, inputs=X)

    assert {name: child.training for name, child in module.named_modules()} == flags
    assert all(torch.equal(state[name], value) for name, value in module.state_dict().items())
    assert type(module.count) is torch.Tensor
    assert type(module.last) is torch.Tensor
    assert module.calls == 1, "the reference ran once; the tracer's runs left nothing"
    assert dict(module._forward_hooks) == hooks


@BOTH
def test_unsupported_operator_is_named(export, exporter):
    """The operator is in the summary, and the next step below it."""
    with pytest.raises(ExportFailed) as caught:
        export(Svd().eval(), exporter, inputs={"x": "float32[batch, 4, 4]"})

    assert "linalg_svd" in caught.value.result.summary
    assert "Three ways out" in str(caught.value)


def test_native_output_of_the_exporter_is_a_section(export, capfd):
    """The TorchScript exporter prints its graph past Python; it goes into the report, not to the terminal."""
    with pytest.raises(ExportFailed) as caught:
        export(Svd().eval(), "torchscript", inputs={"x": "float32[batch, 4, 4]"})

    assert "aten::linalg_svdvals" in dict(caught.value.result.sections)["converter output"]
    assert capfd.readouterr() == ("", "")


def test_data_dependent_branch_is_refused_by_dynamo(export):
    """A branch on values cannot be exported, and the message shows where it stands in the user's file."""
    with pytest.raises(ExportFailed, match="data-dependent") as caught:
        export(Branch().eval(), "dynamo", inputs=X)

    assert "torch.where" in str(caught.value)
    assert "test_torch_exporters.py" in str(caught.value)
    assert "\x1b" not in str(caught.value)


def test_data_dependent_branch_is_frozen_by_torchscript(export):
    """The tracer warns of the branch it froze, and the warning is kept with the file."""
    model = export(Branch().eval(), "torchscript", inputs=X)

    assert any("TracerWarning" in line for line in model.provenance["converter_output"])
    (warning,) = model.provenance["tracer_warnings"]
    assert Path(warning["file"]).name == "test_torch_exporters.py"
    assert warning["code"] == "if x.sum() > 0:"
    assert warning["text"] == "Converting a tensor to a Python boolean might cause the trace to be incorrect"


def test_size_turned_into_a_number_is_named(export):
    """Dynamo says which axis it had to fix, by its declared name, what was declared, and the line that did it."""
    with pytest.raises(ExportFailed) as caught:
        export(Loop().eval(), "dynamo", inputs={"x": "float32[batch, time]"})

    assert "fixed by the model's code: time (input 'x', axis 1) became 3" in caught.value.result.summary
    assert "time (input 'x', axis 1) became 3, declared 1..8" in str(caught.value)
    assert "by time == 3 (test_torch_exporters.py:" in str(caught.value)
    assert "for index in range(1, x.shape[1]):" in str(caught.value)
    assert "torch.cond, or declare the dim with the one size" in str(caught.value)


def test_operator_that_needs_a_size_is_refused_by_torchscript(export):
    """Adaptive pooling of a dynamic picture names the operator and the way out."""
    with pytest.raises(ExportFailed, match="adaptive_avg_pool2d") as caught:
        export(Pool().eval(), "torchscript", inputs={"x": "float32[1, 3, h, w]"}, dims={"h": (4, 16), "w": (4, 16)})

    assert "fixed size" in str(caught.value)


def test_frozen_output_breaks_the_contract(export):
    """A reshape with constants fixes the output's batch, which was declared dynamic."""

    class Frozen(nn.Module):
        def forward(self, x):
            return x.reshape(int(x.shape[0]), 3).sum(1)

    with pytest.raises(ContractViolation, match=r"output 'total' axis 0 \(batch\) was declared dynamic") as caught:
        export(Frozen().eval(), "torchscript", inputs=X, outputs={"total": "float32[batch]"})

    assert "the exporter took for granted:\n  - Converting a tensor to a Python integer" in str(caught.value)
    assert "return x.reshape(int(x.shape[0]), 3).sum(1))" in str(caught.value)


@pytest.mark.parametrize(("opset", "exporter"), [(9, "torchscript"), (17, "torchscript"), (23, "torchscript")])
def test_torchscript_produces_the_opset_asked_for(export, opset, exporter):
    """The opset in the file is the one asked for."""
    model = export(nn.Linear(3, 2).eval(), exporter, opset, inputs=X)

    assert model.opset == opset


@pytest.mark.parametrize(
    ("opset", "expected"), [(None, ("dynamo", 20)), (17, ("torchscript", 17)), (18, ("dynamo", 18))]
)
def test_exporter_follows_from_the_opset(export, opset, expected):
    """Nobody named an exporter: the newest one that produces the opset is taken."""
    model = export(nn.Linear(3, 2).eval(), None, opset, inputs=X)

    assert (model.variant.exporter, model.opset) == expected


def test_old_opset_is_refused_by_dynamo(export):
    """Torch would write another opset without a word, and the message says so."""
    with pytest.raises(ExporterError, match=r"accepted: 18\.\.25: .*leaves the file at opset 18.*torchscript"):
        export(nn.Linear(3, 2).eval(), "dynamo", 17, inputs=X)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"do_constant_foldin": True}, "did you mean 'do_constant_folding'?"),
        ({"dynamo": True}, "set by the plugin from the marks"),
    ],
)
def test_wrong_option_is_refused(export, options, words):
    """Options are checked against what the exporter takes before it runs."""
    with pytest.raises(ExporterError) as caught:
        export(nn.Linear(3, 2).eval(), "torchscript", inputs=X, options=options)

    assert words in str(caught.value)


def test_option_reaches_the_exporter(export):
    """An option changes the file, and makes another variant."""
    module = nn.Sequential(nn.Linear(3, 2)).eval()
    folded = export(module, "torchscript", inputs=X)
    kept = export(
        module, "torchscript", inputs=X, options={"keep_initializers_as_inputs": False, "export_params": True}
    )

    assert folded.path != kept.path


@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")
@pytest.mark.parametrize("wrapped", [False, True])
def test_script_module_keeps_its_branches(export, wrapped):
    """A ScriptModule, or a module that holds one, is exported by torchscript with both branches in the file."""
    script = torch.jit.script(Scripted())

    class Outer(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = script

        def forward(self, x, y):
            return self.inner(x, y)

    inputs = {"y": "float32[batch, 3]", "x": "float32[batch, 3]"}
    model = export(Outer().eval() if wrapped else script, inputs=inputs, outputs=["output_1", "output_0"])

    assert model.variant.exporter == "torchscript"
    assert list(export.inputs(model)) == ["y", "x"]
    for sign in (1, -1):
        feeds = {"x": np.full((4, 3), sign, np.float32), "y": np.zeros((4, 3), np.float32)}
        np.testing.assert_array_equal(model.run(feeds)["output_0"], model.reference(feeds)["output_0"])


@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")
def test_script_part_is_refused_by_dynamo(export):
    """torch.export cannot read a part that is TorchScript; the message says what can."""
    whole = nn.Sequential(nn.ReLU(), torch.jit.script(nn.Linear(3, 2)))
    with pytest.raises(ExporterError, match=r"'1' is a torch\.jit\.ScriptModule.*use exporter='torchscript'"):
        export(whole, "dynamo", inputs={"x": "float32[n, 3]"})


def test_traced_module_takes_any_input_name(export):
    """A traced module is called in order where its parameters are called otherwise."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        traced = torch.jit.trace(nn.Sequential(nn.Linear(3, 2), nn.ReLU()).eval(), torch.zeros(2, 3))
    model = export(traced, inputs={"image": "float32[batch, 3]"})

    export.agrees(model, batch=7)


def test_lazy_module_gets_its_weights_first(export):
    """A lazy layer is built by the example inputs before its weights are looked at."""
    module = nn.Sequential(nn.LazyLinear(2)).eval()
    model = export(module, "torchscript", inputs=X)

    assert tuple(module[0].weight.shape) == (2, 3)
    export.agrees(model, batch=5)


def test_complex_output_is_refused(export):
    """ONNX has no complex outputs, and the message says what to return instead."""

    class Fourier(nn.Module):
        def forward(self, x):
            return torch.fft.fft(x)

    with pytest.raises(SourceError, match=r"output 'output' is complex.*real view"):
        export(Fourier().eval(), "torchscript", inputs=X)


def test_example_that_the_model_refuses_is_a_source_error(export):
    """The declaration does not fit the model: nothing is said about the export."""
    with pytest.raises(SourceError, match=r"refuses its own example inputs \(x float32\[2, 3\]\)"):
        export(nn.Linear(4, 3).eval(), "torchscript", inputs=X)


@pytest.mark.parametrize(("numel", "expected"), [(400_000_000, True), (100, False)])
def test_large_weights_are_kept_beside_the_file(numel, expected):
    """1.6 GB of weights do not go into one protobuf; the decision allocates nothing."""

    class Job:
        source = type("Source", (), {"model": nn.Linear(numel // 10, 10, bias=False, device="meta")})

    assert torch_common.needs_external_data(Job()) is expected


def test_external_data_stays_with_the_file(export, monkeypatch, tmp_path):
    """Weights beside the file count in its size, survive the cache, and go along in a replay."""
    monkeypatch.setattr(torch_common, "EXTERNAL_DATA_BYTES", 1000)
    module = nn.Linear(64, 64).eval()
    made = export(module, "dynamo", inputs={"x": "float32[batch, 64]"})
    export.workshop._made.clear()
    found = export(module, "dynamo", inputs={"x": "float32[batch, 64]"})

    assert found.cached
    assert found.path == made.path
    assert [path.name for path in found.files] == ["model.onnx", "model.onnx.data"]
    assert found.size_bytes > 64 * 64 * 4 > found.path.stat().st_size
    export.agrees(found, batch=3)
    feeds = {"x": np.ones((2, 64), np.float32)}
    expected = found.reference(feeds)
    rule = Rule()
    folder = write_replay(tmp_path / "r", title="t", files=found.files, feeds=feeds, expected=expected, rule=rule)
    done = subprocess.run([sys.executable, str(folder / "replay.py")], capture_output=True, text=True, check=False)
    assert (folder / "model.onnx.data").stat().st_size >= 64 * 64 * 4
    assert done.returncode == 0, done.stdout + done.stderr
