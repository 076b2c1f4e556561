"""Keras's recurrent layers over any length: bidirectional, masked, with an explicit initial state, stateful."""

import numpy as np
import pytest

from pytest_onnxprep import ParityError, TensorSpec, assert_parity, onnx_export, parity

keras = pytest.importorskip("keras")
pytest.importorskip("tensorflow")
pytest.importorskip("tf2onnx")

DIMS = {"batch": (1, 4), "seq": (1, 8)}
X = {"x": "float32[batch, seq, 4]"}
STATE = {
    **X,
    "h": TensorSpec("float32", "batch, 3", low=-1, high=1),
    "c": TensorSpec("float32", "batch, 3", low=-1, high=1),
}


def build_lstm_gru():
    """An LSTM is one operator; Keras's GRU becomes a loop."""
    keras.utils.set_random_seed(0)
    x = keras.Input((None, 4), name="x")
    y = keras.layers.Bidirectional(keras.layers.LSTM(3, return_sequences=True))(x)
    return keras.Model(x, keras.layers.GRU(3)(y))


def build_masked():
    """Steps that are all zeros are padding, and are skipped."""
    keras.utils.set_random_seed(0)
    x = keras.Input((None, 4), name="x")
    return keras.Model(x, keras.layers.SimpleRNN(3)(keras.layers.Masking(0.0)(x)))


def build_initial_state():
    keras.utils.set_random_seed(0)
    x, h, c = keras.Input((None, 4), name="x"), keras.Input((3,), name="h"), keras.Input((3,), name="c")
    y, h_next, c_next = keras.layers.LSTM(3, return_state=True)(x, initial_state=[h, c])
    return keras.Model([x, h, c], {"y": y, "h_next": h_next, "c_next": c_next})


def build_reset_before():
    """A GRU that resets before its product, as other libraries have it; the biases that Keras keeps apart added up."""
    model = build_lstm_gru()
    x = keras.Input((None, 4), name="x")
    gru = keras.layers.GRU(3, reset_after=False, name=model.layers[-1].name)
    other = keras.Model(x, gru(model.layers[1](x)))
    kernel, recurrent, bias = model.layers[-1].get_weights()
    gru.set_weights([kernel, recurrent, bias.sum(axis=0)])
    return other


def build_directions_swapped():
    """The weights of the backward pass for the forward one, and the other way round."""
    model = build_lstm_gru()
    weights = model.layers[1].get_weights()
    model.layers[1].set_weights([*weights[3:], *weights[:3]])
    return model


def build_state_dropped():
    """Zeros in place of the state that comes in."""
    keras.utils.set_random_seed(0)
    x, h, c = keras.Input((None, 4), name="x"), keras.Input((3,), name="h"), keras.Input((3,), name="c")
    y, h_next, c_next = keras.layers.LSTM(3, return_state=True)(x, initial_state=[0 * h, 0 * c])
    return keras.Model([x, h, c], {"y": y, "h_next": h_next, "c_next": c_next})


def build_unmasked():
    """Padding is data like any other."""
    keras.utils.set_random_seed(0)
    x = keras.Input((None, 4), name="x")
    return keras.Model(x, keras.layers.SimpleRNN(3)(x))


def build_stateful():
    keras.utils.set_random_seed(0)
    x = keras.Input(batch_shape=(1, 5, 4), name="x")
    return keras.Model(x, keras.layers.LSTM(3, stateful=True)(x))


def padded(dims, rng):
    """Sequences with zeros behind them; the first is as long as the padding."""
    x = rng.normal(size=(dims["batch"], dims["seq"], 4)).astype("float32")
    lengths = rng.integers(1, dims["seq"] + 1, dims["batch"])
    lengths[0] = dims["seq"]
    x[np.arange(dims["seq"])[None, :] >= lengths[:, None]] = 0
    return {"x": x}


@onnx_export(build_lstm_gru, inputs=X, dims=DIMS)
@parity()
def test_bidirectional_lstm_and_gru(onnx_model):
    assert onnx_model.operators["LSTM"] == 1
    assert onnx_model.operators["Loop"] == 1


@onnx_export(build_masked, inputs=X, dims=DIMS, generate=padded)
@parity()
def test_masked(onnx_model):
    assert onnx_model.operators["Loop"] == 1


@onnx_export(build_initial_state, inputs=STATE, dims=DIMS)
@parity()
def test_initial_state(onnx_model):
    assert onnx_model.operators["LSTM"] == 1


@pytest.mark.parametrize(
    ("build", "other", "arguments"),
    [
        (build_lstm_gru, build_reset_before, {"inputs": X}),
        (build_lstm_gru, build_directions_swapped, {"inputs": X}),
        (build_initial_state, build_state_dropped, {"inputs": STATE}),
        (build_masked, build_unmasked, {"inputs": X, "generate": padded}),
    ],
    ids=["reset before", "directions swapped", "state dropped", "padding taken for data"],
)
def test_no_equivalent(onnx_exporter, build, other, arguments):
    """What is exported in the model's place is almost it; held to the model it is caught."""
    model = onnx_exporter(build, **arguments, dims=DIMS, options={"rewritten": other})
    with pytest.raises(ParityError, match="differs"):
        assert_parity(model)


def test_stateful(onnx_exporter):
    """A stateful layer goes on where its last batch ended, which no file does; the reference is caught changing."""
    model = onnx_exporter(build_stateful, inputs={"x": "float32[1, 5, 4]"})
    with pytest.raises(ParityError, match=r"(?s)not repeatable.*state"):
        assert_parity(model)
