"""A Keras model comes back as it was handed out."""

from __future__ import annotations

import numpy as np
import pytest

from pytest_onnxprep.sources.custody import Custody, untouched
from pytest_onnxprep.sources.load import load_source

keras = pytest.importorskip("keras")


class Remembering(keras.layers.Layer):
    """Keeps what it saw."""

    def __init__(self) -> None:
        super().__init__()
        self.last = None
        self.history = ["built"]

    def call(self, x):
        self.last = x
        return x * 2


@pytest.fixture
def model():
    """Dense layers, normalisation, and a layer of the user's own."""
    made = keras.Sequential(
        [keras.Input((3,)), keras.layers.Dense(4), keras.layers.BatchNormalization(), Remembering()]
    )
    made.layers[0].trainable = False
    return made


def test_what_a_call_changes_goes_back_silently(model):
    """Attributes of the user's layers and moving averages."""
    layer, norm = model.layers[-1], model.layers[1]
    mean = norm.moving_mean.numpy()
    names, before = set(vars(layer)), layer.last
    with untouched(load_source(model)) as custody:
        layer.last = "traced"
        layer.more = 1
        norm.moving_mean.assign(mean + 1)

    assert custody == Custody()
    assert set(vars(layer)) == names
    assert layer.last is before
    np.testing.assert_array_equal(norm.moving_mean.numpy(), mean)


def test_flags_are_put_back_and_told(model):
    """Whether layers learn, and how the model was compiled, is nothing an exporter may change."""
    with untouched(load_source(model)) as custody:
        model.layers[0].trainable = True

    assert custody.restored == [f"{model.layers[0].name!r}: trainable changed"]
    assert not model.layers[0].trainable


def test_overwritten_weights_are_lost_and_named(model):
    """No copy is kept; the weight is named."""
    with untouched(load_source(model)) as custody:
        model.layers[1].gamma.assign(model.layers[1].gamma + 1)

    assert custody.lost == [f"weight {model.layers[1].gamma.path!r}: its values were overwritten"]
