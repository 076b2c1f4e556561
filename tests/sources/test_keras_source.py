"""The Keras source: the signature a model knows, how it is called, and a fingerprint free of Keras's counters."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

tf = pytest.importorskip("tensorflow")
keras = pytest.importorskip("keras")
layers = keras.layers

from pytest_onnxprep.errors import ReferenceRefused, SourceError  # noqa: E402
from pytest_onnxprep.sources.keras_names import distinct, own_names, renamed  # noqa: E402
from pytest_onnxprep.sources.load import load_source  # noqa: E402
from pytest_onnxprep.spec.signature import Signature  # noqa: E402
from pytest_onnxprep.spec.tensor import TensorSpec  # noqa: E402


def sequential(activation="relu", rate=0.1):
    """A net with the same weights every time."""
    keras.utils.set_random_seed(0)
    return keras.Sequential(
        [
            layers.Input((4,)),
            layers.Dense(5, activation=activation),
            layers.BatchNormalization(),
            layers.Dropout(rate),
            layers.Dense(2),
        ]
    )


def functional():
    """Unnamed inputs, bare operations, a layer of several outputs."""
    keras.utils.set_random_seed(0)
    a, b = layers.Input((3,)), layers.Input((None, 3))
    states = layers.LSTM(3, return_state=True)(b)
    return keras.Model([a, b], [*states, a - states[0] * 2.0])


class Scaled(keras.Model):
    """Subclassed, with attributes that no config knows."""

    def __init__(self, units=3, function=None):
        super().__init__()
        self.function = function
        self.dense = layers.Dense(units)
        self.others = [layers.Dense(2)]
        self._scale = 2.0
        self.table = tf.constant([1.0, 2.0])

    def call(self, x, training=False):
        return self.others[0](self.dense(x) * self._scale) * self.table


def scaled(**arguments):
    """Built, with the same weights every time."""
    keras.utils.set_random_seed(0)
    model = Scaled(**arguments)
    model(np.ones((1, 4), np.float32))
    return model


def digest(model):
    """Its fingerprint, which is stable."""
    found = load_source(model).fingerprint()
    assert found.stable
    return found.hexdigest


@pytest.mark.parametrize("build", [sequential, functional, scaled])
def test_same_build_has_the_same_fingerprint(build):
    """Keras numbers names and seeds on from model to model; the fingerprint does not."""
    assert digest(build()) == digest(build())


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
def test_loaded_file_has_the_same_fingerprint(tmp_path):
    """Twice the same file."""
    sequential().save(tmp_path / "net.keras")

    assert digest(str(tmp_path / "net.keras")) == digest(str(tmp_path / "net.keras"))


@pytest.mark.parametrize(
    "other",
    [
        lambda: sequential("tanh"),
        lambda: sequential(rate=0.2),
        lambda: _changed(sequential(), lambda model: model.layers[0].kernel.assign_add(np.ones((4, 5)))),
        lambda: _changed(sequential(), lambda model: model.layers[1].moving_mean.assign_add(np.ones(5))),
    ],
)
def test_change_of_the_model_changes_the_fingerprint(other):
    """Activation, rate, weight, running statistic."""
    assert digest(other()) != digest(sequential())


def _changed(model, change):
    change(model)
    return model


@pytest.mark.parametrize(
    "other",
    [
        lambda: scaled(units=4),
        lambda: scaled(function=abs),
        lambda: _changed(scaled(), lambda model: setattr(model, "_scale", 3.0)),
        lambda: _changed(scaled(), lambda model: setattr(model, "table", tf.constant([1.0, 3.0]))),
        lambda: _changed(scaled(), lambda model: model.others[0].bias.assign([1.0, 2.0])),
    ],
)
def test_attributes_of_a_subclassed_model_count(other):
    """Arguments, private attributes, constants, weights of layers in lists."""
    assert digest(other()) != digest(scaled())


def test_subclassed_model_without_a_config_is_stable():
    """An argument that Keras cannot serialise leaves no config; attributes and code tell the model."""
    assert digest(scaled(function=len)) == digest(scaled(function=len))
    assert digest(scaled(function=len)) != digest(scaled(function=abs))


def test_lambda_layers_count_and_are_quiet():
    """The closure of a lambda is part of the model; Keras's warning of lambdas is not passed on."""

    def make(factor):
        return keras.Sequential([layers.Input((4,)), layers.Lambda(lambda x: x * factor)])

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert digest(make(2)) == digest(make(2))
        assert digest(make(2)) != digest(make(3))


def test_unbuilt_model_says_so():
    """Its weights come with the first call."""
    source = load_source(Scaled())
    assert not source.built()
    source.run({"x": np.ones((1, 4), np.float32)}, Signature({"x": TensorSpec("float32", "n, 4")}))

    assert source.built()
    assert load_source(sequential()).built()


def test_names_are_counted_within_the_model():
    """The second functional model of a process looks like the first."""
    functional()
    source = load_source(functional())
    signature = source.derived_signature()
    feeds = {"input_layer": np.ones((2, 3), np.float32), "input_layer_1": np.ones((2, 5, 3), np.float32)}

    assert {name: str(spec) for name, spec in signature.inputs.items()} == {
        "input_layer": "float32[batch, 3]",
        "input_layer_1": "float32[batch, input_layer_1_dim1, 3]",
    }
    assert list(source.run(feeds, signature)) == ["lstm", "lstm_1", "lstm_2", "subtract"]
    assert source.label == "functional (keras.Functional)"


def test_given_names_stay():
    """A name the user chose is the user's, and made-up names keep clear of it."""
    inputs = layers.Input((3,), name="pixels")
    hidden = layers.Dense(3, name="head")(layers.Dense(3)(inputs))
    model = keras.Model(inputs, layers.Dense(2)(hidden))

    assert set(own_names(model).values()) == {"dense", "dense_1", "functional"}


def test_names_of_the_process_are_understood():
    """Names that Keras itself shows select and feed as well."""
    model = functional()
    source = load_source(model)
    actual = [tensor.name for tensor in model.inputs]
    feeds = dict(zip(actual, (np.ones((2, 3), np.float32), np.ones((2, 5, 3), np.float32)), strict=True))
    specs = {name: TensorSpec("float32", list(array.shape)) for name, array in feeds.items()}

    assert list(source.run(feeds, Signature(specs, {model.output_names[3]: None}))) == [model.output_names[3]]


def test_renaming_and_telling_apart():
    """Whole strings only, in any container; repeated names are numbered past those that are taken."""
    config = {"name": "dense_3", "inbound": [["dense_3", 0], ("dense_30",)], "units": 3}

    assert renamed(config, {"dense_3": "dense"}) == {
        "name": "dense",
        "inbound": [["dense", 0], ["dense_30"]],
        "units": 3,
    }
    assert distinct(["a", "a", "a_1", "b"]) == ["a", "a_1", "a_1_1", "b"]


def test_files(tmp_path):
    """Both formats load; what is no such file is told by its name."""
    model = sequential()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name in ("net.keras", "net.h5"):
            model.save(tmp_path / name)
    feeds = {"input_layer": np.ones((2, 4), np.float32)}
    expected = load_source(model).run(feeds, load_source(model).derived_signature())["dense_1"]
    for name in ("net.keras", "net.h5"):
        source = load_source(str(tmp_path / name))
        found = source.run(feeds, source.derived_signature())
        np.testing.assert_allclose(found["dense_1"], expected, rtol=1e-6)


@pytest.mark.parametrize("name", ["bad.keras", "bad.h5"])
def test_damaged_file(tmp_path, name):
    """A broken file is a broken test."""
    (tmp_path / name).write_bytes(b"junk")

    with pytest.raises(SourceError, match=name) as caught:
        load_source(str(tmp_path / name))
    assert "PosixPath" not in str(caught.value)


def test_refusal_tells_the_layer():
    """Keras's own message begins with the layer; the reason comes first here."""
    source = load_source(scaled())
    with pytest.raises(ReferenceRefused) as caught:
        source.run({"x": np.ones((1, 7), np.float32)}, Signature({"x": TensorSpec("float32", "n, 7")}))

    assert "\x1b" not in str(caught.value)
    assert "dense" in str(caught.value)


def test_wrong_number_of_inputs():
    """The model's own inputs are listed."""
    with pytest.raises(SourceError, match=r"takes 2 \(input_layer, input_layer_1\)"):
        load_source(functional()).run(
            {"x": np.ones((1, 3), np.float32)}, Signature({"x": TensorSpec("float32", "n, 3")})
        )


def test_state_is_put_back():
    """Running statistics after a call in train mode."""
    model = sequential()
    source = load_source(model)
    state = source.state()
    model(np.ones((8, 4), np.float32), training=True)
    changed = source.state()
    source.restore(state)

    assert any((changed[name] != state[name]).any() for name in state)
    assert all((source.state()[name] == state[name]).all() for name in state)
