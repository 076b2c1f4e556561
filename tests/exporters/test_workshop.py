"""One export per variant: remembered while nothing changed, made again when anything did."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("onnxscript")

from pytest_onnxprep.errors import ExportFailed, OnnxPrepError, SourceError  # noqa: E402
from pytest_onnxprep.exporters import workshop as workshop_module  # noqa: E402
from pytest_onnxprep.sources.load import load_source  # noqa: E402

X = {"x": "float32[batch, 3]"}


def net():
    """The same weights every time."""
    torch.manual_seed(0)
    return torch.nn.Linear(3, 2).eval()


def test_same_export_is_remembered(export):
    """Within a run the model is the same object; in the next run it comes from the cache."""
    first = export(net(), "torchscript", inputs=X)
    second = export(net(), "torchscript", inputs=X)
    export.workshop._made.clear()
    third = export(net(), "torchscript", inputs=X)

    assert second is first
    assert (first.cached, third.cached, third.path) == (False, True, first.path)


@pytest.mark.parametrize("exporter", ["torchscript", "dynamo"])
def test_output_called_like_an_input(export, exporter):
    """Each exporter would fail with another error, or rename the input; other names are the way out."""

    class Step(torch.nn.Module):
        def forward(self, x, state):
            return {"y": x + state[0], "state": (state[0] * 2,)}

    inputs = {"x": "float32[batch, 3]", "state.0": "float32[batch, 3]"}

    with pytest.raises(SourceError, match=r"of the same name \(state\.0\).*outputs=\['y', 'state\.0'\], with"):
        export(Step().eval(), exporter, inputs=inputs)
    model = export(Step().eval(), exporter, inputs=inputs, outputs=["y", "next_state"])
    assert list(export.inputs(model)) == list(inputs)
    export.agrees(model, batch=5)


def _shift(module):
    module.weight.data += 1


@pytest.mark.parametrize(
    ("change", "arguments"),
    [
        (_shift, {}),
        (None, {"opset": 16}),
        (None, {"options": {"do_constant_folding": False}}),
        (None, {"inputs": {"y": "float32[batch, 3]"}}),
        (None, {"inputs": {"x": "float32[n, 3]"}}),
        (None, {"dims": {"batch": (1, 5)}}),
        (None, {"outputs": ["scores"]}),
        (None, {"domains": ("com.microsoft",)}),
    ],
)
def test_anything_that_matters_makes_another_export(export, change, arguments):
    """Weights, opset, options, names, dims, outputs and domains are all part of the key."""
    first = export(net(), "torchscript", inputs=X)
    module = net()
    if change is not None:
        change(module)
    second = export(module, "torchscript", **{"inputs": X, **arguments})

    assert second.path != first.path


def test_failure_is_remembered(export, monkeypatch):
    """A failing export is tried once per run, and told to everybody who asks."""

    class Broken(torch.nn.Module):
        def forward(self, x):
            return torch.linalg.svdvals(x)

    def ask():
        with pytest.raises(ExportFailed, match="linalg_svdvals"):
            export(Broken().eval(), "torchscript", inputs={"x": "float32[batch, 3, 3]"})

    ask()
    monkeypatch.setattr(workshop_module, "_run_exporter", lambda *_: pytest.fail("exported again"))
    ask()
    export.workshop._made.clear()
    ask()


def test_only_the_last_models_stay_open(export, monkeypatch):
    """A long run does not keep every model it has seen."""
    monkeypatch.setattr(workshop_module, "_KEPT", 2)
    for width in (1, 2, 3):
        export(torch.nn.Linear(3, width).eval(), "torchscript", inputs=X)

    assert len(export.workshop._made) == 2


def test_provenance(export):
    """It tells how the file came about."""
    provenance = export(net(), "torchscript", 17, inputs=X).provenance

    assert (provenance["exporter"], provenance["opset"], provenance["outputs"]) == ("torchscript", 17, ["output"])
    assert provenance["traced_at"] == {"x": [2, 3]}
    assert provenance["packages"]["torch"].startswith(torch.__version__.partition("+")[0])
    assert provenance["export_s"] >= 0


def test_own_feeds_are_traced(export):
    """Example inputs of the user's own are what the exporter sees."""
    example = torch.zeros(7, 3)
    model = export(net(), "torchscript", inputs={"x": example}, dims={})

    assert export.inputs(model) == {"x": [7, 3]}


def test_source_error_is_not_remembered(export):
    """What is wrong with a test may be put right within the run."""
    for _ in range(2):
        with pytest.raises(OnnxPrepError, match="refuses its own example inputs"):
            export(net(), "torchscript", inputs={"x": "float32[batch, 4]"})
    assert export.workshop._made == {}


def test_proven_file_is_not_proven_again(export, monkeypatch):
    """The store vouches for the bytes, the key for the declaration: the same checkers would say the same."""
    made = export(net(), "torchscript", inputs=X)
    export.workshop._made.clear()
    monkeypatch.setattr(workshop_module, "check_contract", lambda *_, **__: pytest.fail("checked again"))
    found = export(net(), "torchscript", inputs=X)

    assert found.cached
    assert found.provenance["proven_with"] == made.provenance["proven_with"]
    assert set(found.provenance["proven_with"]) >= {"onnx", "onnxruntime"}


def test_file_is_proven_again_by_other_checkers(export, monkeypatch):
    """What another ONNX Runtime makes of a file nobody knows before it was tried."""
    export(net(), "torchscript", inputs=X)
    export.workshop._made.clear()
    checked = []
    monkeypatch.setattr(workshop_module, "provers", lambda: {"onnx": "1.23", "onnxruntime": "99.0"})
    monkeypatch.setattr(workshop_module, "check_contract", lambda path, *_, **__: checked.append(path))
    found = export(net(), "torchscript", inputs=X)

    assert found.cached
    assert checked == [found.path]


def test_large_weight_that_changes_makes_another_export(export):
    """The digest of a large weight is kept, and never taken for that of other values or places, however they came."""
    module = torch.nn.Linear(3, 30_000, bias=False).eval()
    source = load_source(module)
    first = source.fingerprint()

    def changed(change):
        before = module.weight.detach().clone()
        change(module.weight.data)
        found = source.fingerprint()
        module.weight.data.copy_(before)
        return found != first

    assert source.fingerprint() == first
    assert changed(lambda data: data.__setitem__((17, 1), data[17, 1] + 1))
    assert changed(lambda data: data.copy_(data.flip(0)))
    assert changed(lambda data: data.copy_(data.roll(1)))
    assert source.fingerprint() == first == load_source(module).fingerprint()
