"""HDF5 files that Keras 2 wrote: Keras 3 is to give what Keras 2 gave."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap

import h5py
import numpy as np
import pytest

pytest.importorskip("tf_keras")
keras = pytest.importorskip("keras")

from pytest_onnxprep.errors import SourceError  # noqa: E402
from pytest_onnxprep.sources import keras_file  # noqa: E402
from pytest_onnxprep.sources.keras2_config import modernised  # noqa: E402
from pytest_onnxprep.sources.load import load_source  # noqa: E402

#: Keras 2 in a process of its own: each model with random weights, its inputs and what it makes of them.
WRITER = """
    import sys
    from pathlib import Path

    import numpy as np
    import tf_keras as k2

    L = k2.layers
    k2.utils.set_random_seed(0)
    SIGNAL, PICTURE = {"input_shape": (7, 3)}, {"input_shape": (8, 8, 2)}


    def chain(*layers):
        return k2.Sequential(list(layers))


    def nested():
        picture = L.Input((8, 8, 3))
        x = L.Conv2D(4, 3, padding="same", name="block/conv")(picture)
        x = L.BatchNormalization(name="block/norm")(x)
        x = L.Add()([x, L.Conv2D(4, 1)(picture)])
        head = chain(L.Conv2D(2, 1, input_shape=(8, 8, 4)), L.SpatialDropout2D(0.2), L.GlobalMaxPool2D())
        return k2.Model(picture, head(L.Activation("hard_sigmoid")(x)))


    def stateful():
        signal = L.Input((None, 3))
        return k2.Model(signal, L.LSTM(4, return_state=True, return_sequences=True)(signal))


    def cells():
        signal = L.Input((7, 3))
        return k2.Model(signal, L.RNN([L.LSTMCell(3, recurrent_activation="hard_sigmoid"), L.GRUCell(2)])(signal))


    def operations():
        x = L.Input((4,))
        return k2.Model(x, x * 2.0 + 1.0)


    MODELS = {
        "lstm": lambda: chain(L.LSTM(5, recurrent_activation="hard_sigmoid", **SIGNAL), L.Dense(2)),
        "gru": lambda: chain(L.GRU(5, reset_after=False, recurrent_activation="hard_sigmoid", **SIGNAL), L.Dense(2)),
        "gru_reset_after": lambda: chain(L.GRU(5, **SIGNAL)),
        "bidirectional": lambda: chain(
            L.Bidirectional(L.LSTM(4, return_sequences=True), **SIGNAL),
            L.SpatialDropout1D(0.2),
            L.Bidirectional(L.GRU(3)),
        ),
        "time_distributed": lambda: chain(
            L.TimeDistributed(L.Dense(4, activation="hard_sigmoid"), **SIGNAL), L.SimpleRNN(3)
        ),
        "masked": lambda: chain(L.Masking(0.0, **SIGNAL), L.LSTM(4), L.Dense(1)),
        "convolutions": lambda: chain(
            L.DepthwiseConv2D(3, **PICTURE), L.BatchNormalization(), L.ReLU(6.0), L.SeparableConv2D(4, 3),
            L.Conv2DTranspose(2, 3, strides=2), L.GlobalAveragePooling2D(),
        ),
        "convolutions_1d": lambda: chain(
            L.Conv1D(4, 3, padding="causal", **SIGNAL), L.SeparableConv1D(3, 2), L.Conv1DTranspose(2, 2),
            L.DepthwiseConv1D(2),
        ),
        "convolutional_lstm": lambda: chain(L.ConvLSTM2D(3, 2, input_shape=(3, 6, 6, 1)), L.GlobalMaxPooling2D()),
        "nested": nested,
        "stateful": stateful,
        "cells": cells,
        "operations": operations,
    }
    rng = np.random.default_rng(0)
    for name, build in MODELS.items():
        model = build()
        for weight in model.weights:
            drawn = rng.normal(size=weight.shape).astype("f4")
            weight.assign(np.abs(drawn) + 0.5 if "variance" in weight.name else 0.5 * drawn)
        feeds = rng.normal(size=[2, *(size or 6 for size in model.inputs[0].shape[1:])]).astype("f4")
        answer = model(feeds, training=False)
        answers = answer if isinstance(answer, (list, tuple)) else [answer]
        path = Path(sys.argv[1], name)
        model.save(f"{path}.h5")
        np.savez(f"{path}.npz", feeds=feeds, **{f"answer{i}": np.asarray(value) for i, value in enumerate(answers)})
"""
READABLE = [
    "lstm",
    "gru",
    "gru_reset_after",
    "bidirectional",
    "time_distributed",
    "masked",
    "convolutions",
    "convolutions_1d",
    "convolutional_lstm",
    "nested",
    "stateful",
    "cells",
]


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A folder of them."""
    folder = tmp_path_factory.mktemp("keras2")
    script = folder / "write.py"
    script.write_text(textwrap.dedent(WRITER))
    subprocess.run([sys.executable, str(script), str(folder)], check=True, capture_output=True)
    return folder


@pytest.mark.filterwarnings("ignore:The structure of `inputs`:UserWarning")
@pytest.mark.parametrize("name", READABLE)
def test_the_answers_are_those_of_keras_2(written, name):
    """Old activations, defaults, counts of calls and arguments that are gone."""
    with np.load(written / f"{name}.npz") as held:
        feeds, answers = held["feeds"], [held[key] for key in held.files if key != "feeds"]

    found = keras_file.load(written / f"{name}.h5")(feeds, training=False)

    for value, answer in zip(found if isinstance(found, (list, tuple)) else [found], answers, strict=True):
        np.testing.assert_allclose(np.asarray(value), answer, rtol=1e-5, atol=1e-6)


def test_the_file_stays_as_it_is(written):
    """What is changed is a copy in memory."""
    before = (written / "nested.h5").read_bytes()
    load_source(written / "nested.h5")

    assert (written / "nested.h5").read_bytes() == before


def test_a_file_of_keras_3_is_read_by_keras_3(tmp_path):
    """Its hard sigmoid is another one."""
    model = keras.Sequential([keras.layers.Input((3,)), keras.layers.Activation("hard_sigmoid")])
    model.save(tmp_path / "net.h5")
    ones = np.ones((1, 3), "float32")

    np.testing.assert_allclose(np.asarray(keras_file.load(tmp_path / "net.h5")(ones)), 4 / 6, rtol=1e-6)


def test_bare_operations_are_told(written):
    """Keras 3 has no layer for them, and they are nobody's own code."""
    with pytest.raises(SourceError, match=r"holds bare TensorFlow operations \(TFOpLambda\).*SavedModel"):
        load_source(written / "operations.h5")


def test_models_before_2_2(written, tmp_path):
    """A Sequential was a list of layers, the first with the shape of the input, those inside others by class alone."""
    with h5py.File(written / "bidirectional.h5", "r") as file:
        config = json.loads(file.attrs["model_config"])
    layers = [layer for layer in config["config"]["layers"] if layer["class_name"] != "InputLayer"]
    for layer in layers:
        if layer["class_name"] == "Bidirectional":
            layer["config"]["layer"] = {name: layer["config"]["layer"][name] for name in ("class_name", "config")}
    old = modernised({"class_name": "Sequential", "config": layers})

    first = old["config"]["layers"][0]
    assert (first["class_name"], first["config"]["batch_shape"]) == ("InputLayer", [None, 7, 3])
    assert old["config"]["layers"][1]["config"]["layer"]["module"] == "keras.layers"
    assert layers[0]["config"]["batch_input_shape"] == [None, 7, 3]  # the given one is untouched


@pytest.mark.parametrize("config", [{}, {"class_name": "Sequential", "config": {"layers": [5]}}, {"config": [[]]}])
def test_what_is_no_model_stays(config):
    """Keras says what is wrong with it."""
    modernised(config)
