"""Keras files: layers that are programs, configurations that are bombs, sizes that no weights fill."""

from __future__ import annotations

import json
import zipfile

import numpy as np
import pytest

from pytest_onnxprep.errors import SourceError
from pytest_onnxprep.sources import keras_config, trial
from pytest_onnxprep.sources.load import load_source

keras = pytest.importorskip("keras")
CODE = ["4wEA", None, None]


def written(path, change, inputs=(4,), layers=()):
    """A file whose configuration was changed."""
    model = keras.Sequential([keras.Input(inputs), *layers, keras.layers.Dense(3)])
    model.save(path)
    if path.suffix == ".h5":
        h5py = pytest.importorskip("h5py")
        with h5py.File(path, "r+") as file:
            file.attrs["model_config"] = json.dumps(change(json.loads(file.attrs["model_config"])))
        return path
    with zipfile.ZipFile(path) as old:
        entries = {name: old.read(name) for name in old.namelist()}
    entries["config.json"] = json.dumps(change(json.loads(entries["config.json"]))).encode()
    with zipfile.ZipFile(path, "w") as new:
        for name, data in entries.items():
            new.writestr(name, data)
    return path


def with_layer(class_name, module="keras.layers", **config):
    """The configuration with one more layer."""
    layer = {"module": module, "class_name": class_name, "config": {"name": "l", **config}, "registered_name": None}

    def change(described):
        described["config"]["layers"].append(layer)
        return described

    return change


def wrapped_lambda(described):
    """A Lambda layer inside another one, as Keras 2 wrote it."""
    inner = {"class_name": "Lambda", "config": {"name": "l", "function": CODE, "function_type": "lambda"}}
    return with_layer("TimeDistributed", layer=inner)(described)


LAMBDA = "holds Python code .a Lambda layer.: reading it runs that, so it was not read"


@pytest.mark.parametrize(
    ("suffix", "change", "said"),
    [
        ("keras", with_layer("StringLookup", vocabulary="/etc/passwd"), r"'l' \(StringLookup\) reads its words from"),
        ("h5", with_layer("IntegerLookup", vocabulary="/etc/passwd"), "from another file, '/etc/passwd'"),
        ("keras", with_layer("TFSMLayer", filepath="/tmp"), r"'l' \(TFSMLayer\) is the SavedModel of another folder"),
        ("keras", with_layer("TorchModuleWrapper", module="AAAA"), "is a pickled torch module"),
        ("h5", wrapped_lambda, LAMBDA),
        ("h5", with_layer("Lambda", function="system", function_type="function"), LAMBDA),
        ("keras", with_layer("Mine", module="mine"), "which knows no class 'Mine'; import the code"),
        ("h5", with_layer("Mine", module="mine"), "which knows no class 'Mine'; import the code"),
        ("keras", lambda _: None, "its configuration describes no model .'null'.; save the model again"),
        ("h5", lambda _: [1], r"its configuration describes no model \('\[1\]'\)"),
    ],
)
def test_what_a_configuration_asks_for(tmp_path, suffix, change, said):
    """It is told in its own words."""
    path = written(tmp_path / f"net.{suffix}", change)

    with pytest.raises(SourceError, match=said) as caught:
        load_source(path)
    assert path.name in str(caught.value)


def test_lambdas_of_keras_functions_are_taken(tmp_path):
    """A function of Keras's own is no code of the file's."""
    keras.Sequential([keras.Input((4,)), keras.layers.Lambda(keras.activations.relu)]).save(tmp_path / "net.keras")
    source = load_source(tmp_path / "net.keras")
    feeds = {"x": -np.ones((1, 4), np.float32)}

    assert source.try_out(feeds, None) == ""


@pytest.mark.parametrize("suffix", ["keras", "h5"])
def test_units_without_weights(tmp_path, monkeypatch, suffix):
    """Keras makes all variables before it finds that the weights do not fill them: elsewhere, first."""
    monkeypatch.setattr(trial, "MEMORY_BYTES", 1 << 29)

    def change(described):
        described["config"]["layers"][-1]["config"]["units"] = 100_000_000
        return described

    with pytest.raises(SourceError, match=r"refused: it takes more than . GB of memory"):
        load_source(written(tmp_path / f"net.{suffix}", change))


def test_a_configuration_that_unpacks_to_much(tmp_path, monkeypatch):
    """It is not even parsed."""
    monkeypatch.setattr(keras_config, "LARGEST", 1 << 20)
    path = written(tmp_path / "net.keras", lambda described: described | {"padding": " " * (2 << 20)})

    with pytest.raises(SourceError, match=r"its config\.json is larger than any model needs"):
        load_source(path)


def test_a_layer_that_takes_all_memory(tmp_path):
    """Such a model is built at no cost, and is not run here."""
    if keras.backend.backend() != "tensorflow":
        pytest.skip("the others repeat without copies")
    path = tmp_path / "net.keras"
    keras.Sequential([keras.Input((4,)), keras.layers.RepeatVector(1 << 30)]).save(path)
    source = load_source(path)

    assert "takes more than 4 GB" in source.try_out({"x": np.ones((1, 4), np.float32)}, None)


def test_models_with_files_of_their_own(tmp_path):
    """A vocabulary among the files of an archive is unpacked when it is read here."""
    pytest.importorskip("tensorflow")
    words = tmp_path / "words.txt"
    words.write_text("a\nb\n")
    model = keras.Sequential(
        [keras.Input((1,), dtype="string"), keras.layers.StringLookup(vocabulary=str(words)), keras.layers.Dense(1)]
    )
    model.save(tmp_path / "net.keras")
    words.unlink()

    assert load_source(tmp_path / "net.keras").model.layers[0].get_vocabulary() == ["[UNK]", "a", "b"]


def test_an_empty_hdf5_file(tmp_path):
    """It begins with nothing."""
    path = tmp_path / "net.h5"
    path.write_bytes(b"")

    with pytest.raises(SourceError, match=r"no HDF5 file \(it is empty\)"):
        load_source(path)
