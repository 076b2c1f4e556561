"""Keras on JAX, through Keras's own exporter: a recurrent layer goes over any length."""

import pytest

from pytest_onnxprep import onnx_export, parity

keras = pytest.importorskip("keras")
pytest.importorskip("jax2onnx")


def build_lstm():
    keras.utils.set_random_seed(0)
    x = keras.Input((None, 4), name="x")
    return keras.Model(x, keras.layers.LSTM(3, name="y")(x))


@onnx_export(build_lstm, inputs={"x": "float32[batch, seq, 4]"}, dims={"batch": (1, 4), "seq": (1, 8)})
@parity(max_examples=20)
def test_lstm_over_any_length(onnx_model):
    assert onnx_model.operators["Loop"] == 1
