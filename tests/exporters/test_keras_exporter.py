"""Keras's own exporter: names of both ends, opsets, and every backend."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import keras
import pytest

from pytest_onnxprep.api import assert_parity
from pytest_onnxprep.errors import ExporterError
from pytest_onnxprep.spec.verdict import Verdict

layers = keras.layers


def two_ends():
    """Inputs and outputs in dicts, in an order that is not the alphabet's."""
    keras.utils.set_random_seed(0)
    left, right = keras.Input((4,), name="right"), keras.Input((6,), name="left")
    both = layers.Concatenate()([left, right])
    outputs = {"z": layers.Dense(3, activation="gelu")(left), "a": layers.Dense(2)(both)}
    return keras.Model({"right": left, "left": right}, outputs)


def test_names_and_values(onnx_exporter):
    """Whatever Keras calls them, and however it sorts dicts."""
    model = onnx_exporter(two_ends, exporter="keras", opset=15)
    renamed = onnx_exporter(two_ends, exporter="keras", outputs=["z"])

    assert {value.name: value.shape for value in model.session.get_inputs()} == {
        "left": ["batch", 6],
        "right": ["batch", 4],
    }
    assert sorted(model.output_names) == ["a", "z"]
    assert renamed.output_names == ["z"]
    assert model.opset == 15
    for each in (model, renamed):
        assert assert_parity(each, max_examples=10).verdict is Verdict.PASS


def test_layers_that_learn_their_shape(onnx_exporter):
    """Keras wants a model that was called; the plugin calls it."""

    class Net(keras.Model):
        def __init__(self):
            super().__init__()
            self.dense = layers.Dense(3)

        def call(self, x):
            return self.dense(x)

    model = onnx_exporter(Net, exporter="keras", inputs={"x": "float32[batch, 5]"})

    assert assert_parity(model, max_examples=10).verdict is Verdict.PASS


def test_opset_beyond_the_backends(onnx_exporter):
    """Told before Keras is asked."""
    with pytest.raises(ExporterError, match="'keras' on the tensorflow backend does not produce opset 19"):
        onnx_exporter(two_ends, exporter="keras", opset=19)


STORY = """
import keras
from pytest_onnxprep import onnx_export, parity

def build():
    keras.utils.set_random_seed(0)
    layers = keras.layers
    picture = keras.Input((None, 8, 3), name="picture")
    features = layers.Conv2D(4, 3, activation="relu")(picture)
    return keras.Model(picture, layers.Dense(2)(layers.GlobalAveragePooling2D()(features)))

@onnx_export(build, dims={"picture_dim1": (4, 8)})
@parity(max_examples=10)
def test_net(onnx_model):
    assert onnx_model.provenance["exporter"] == "keras"
    assert onnx_model.signature.dims["batch"]
"""


@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_other_backends(tmp_path, backend):
    """Keras's exporter is the default there, and takes convolutions over an open size."""
    pytest.importorskip(backend)
    (tmp_path / "test_story.py").write_text(STORY)
    root = str(Path(__file__).parents[2])
    environment = {**os.environ, "KERAS_BACKEND": backend, "PYTHONPATH": root}
    environment.pop("PYTEST_ADDOPTS", None)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", str(tmp_path), str(tmp_path)],
        capture_output=True,
        text=True,
        env=environment,
        cwd=tmp_path,
        check=False,
    )

    assert "2 passed" in done.stdout, done.stdout[-3000:]
