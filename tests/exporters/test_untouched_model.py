"""Every exporter leaves the user's model exactly as it was, and sees the mode the user left it in."""

from __future__ import annotations

import random

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("onnxscript")
from torch import nn  # noqa: E402

from model_zoo import MODELS  # noqa: E402
from pytest_onnxprep.errors import ExportFailed  # noqa: E402
from pytest_onnxprep.exporters import torchscript  # noqa: E402

BOTH = pytest.mark.parametrize("exporter", ["torchscript", "dynamo"])
X = {"x": "float32[batch, 3]"}
SMALL = {
    "lstm_tagger": {"inputs": {"tokens": "int64[batch, seq]"}},
    "cnn": {"dims": {"image_dim1": (16, 32), "image_dim2": (16, 32)}},
    "two_tower": {},
    "bilstm": {},
    "distilbert": {},
}


class Backbone(nn.Module):
    """A layer whose mode can be seen in the file."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(3)
        self.drop = nn.Dropout(0.5)

    def forward(self, x):
        if self.training:
            x = torch.tanh(x)
        return self.drop(self.norm(x))


def _modes(module):
    return {name: child.training for name, child in module.named_modules()}


@BOTH
def test_frozen_parts_of_a_model_in_train_mode_stay_frozen(export, exporter):
    """The root is in train mode, the layers are not: the file has the user's path, the flags stay one by one."""
    module = Backbone().train()
    module.norm.eval()
    module.drop.eval()
    modes = _modes(module)
    model = export(module, exporter, inputs=X)

    assert _modes(module) == modes
    assert "Tanh" in model.operators
    assert "Dropout" not in model.operators
    export.agrees(model, batch=5)


@BOTH
def test_a_part_left_in_train_mode_is_exported_so(export, exporter):
    """The root is in eval mode, a part is not: torch's own tracer would switch it off without a word."""
    module = nn.Sequential(nn.Linear(3, 3), Backbone().eval())
    module.eval()
    module[1].train()
    module[1].norm.eval()
    module[1].drop.eval()
    modes = _modes(module)
    model = export(module, exporter, inputs=X)

    assert _modes(module) == modes
    assert "Tanh" in model.operators
    export.agrees(model, batch=5)


def test_mode_asked_for_in_options_is_the_users(export):
    """``options={"training": ...}`` has the last word."""
    module = Backbone().train()
    module.norm.eval()
    module.drop.eval()
    model = export(module, "torchscript", inputs=X, options={"training": torch.onnx.TrainingMode.EVAL})

    assert "Tanh" not in model.operators
    assert module.training


def test_inference_mode_is_still_optimised(export):
    """A model in eval mode is traced as before: BatchNorm is folded into the convolution."""
    module = nn.Sequential(nn.Conv1d(3, 4, 3), nn.BatchNorm1d(4)).eval()
    model = export(module, "torchscript", inputs={"x": "float32[batch, 3, 9]"})

    assert "BatchNormalization" not in model.operators


@BOTH
def test_generators_and_switches_are_left_alone(export, exporter):
    """A run that exports draws the same numbers afterwards as one that finds the file in the cache."""
    module = Backbone().eval()
    states = torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()
    export(module, exporter, inputs=X)

    assert torch.equal(torch.get_rng_state(), states[0])
    assert (np.random.get_state()[1] == states[1]).all()
    assert random.getstate() == states[2]
    assert torch.is_grad_enabled()


def _fake_exporter(monkeypatch, spoil):
    honest = torchscript.export

    def export_and_spoil(job):
        honest(job)
        spoil(job.source.model)

    monkeypatch.setattr(torchscript, "export", export_and_spoil)


def test_exporter_that_overwrites_weights_fails_the_export(export, monkeypatch):
    """The reference would no longer be the user's model, so nothing goes on with it."""
    _fake_exporter(monkeypatch, lambda module: module.weight.data.mul_(2))
    with pytest.raises(ExportFailed) as caught:
        export(nn.Linear(3, 2).eval(), "torchscript", inputs=X)

    summary = "exporter 'torchscript' changed the model itself: parameter 'weight': its values were overwritten"
    assert caught.value.result.summary == summary
    assert "The reference would no longer be your model" in str(caught.value)
    assert "copy.deepcopy" in str(caught.value)


def test_exporter_that_converts_the_model_is_undone(export, monkeypatch):
    """What can be put back is, and the provenance says what it was."""
    _fake_exporter(monkeypatch, lambda module: module.half())
    module = nn.Linear(3, 2).eval()
    model = export(module, "torchscript", inputs=X)

    assert model.provenance["restored"] == ["parameter 'weight': its tensor", "parameter 'bias': its tensor"]
    assert module.weight.dtype is torch.float32
    export.agrees(model, batch=4)


@pytest.mark.parametrize("name", SMALL)
def test_real_models_have_nothing_to_be_put_back(export, name):
    """No false alarm: caches that frameworks make on their first call are no changes."""
    zoo = MODELS[name]
    pytest.importorskip({"tensorflow": "tf2onnx", "keras": "tf2onnx"}.get(zoo.framework, zoo.framework))
    exporters = {"torch": ["torchscript", "dynamo"], "transformers": ["torchscript", "dynamo", "transformers"]}
    for exporter in exporters.get(zoo.framework, ["tf2onnx"]):
        model = export(zoo.build(), exporter, **SMALL[name])

        assert "restored" not in model.provenance, exporter
