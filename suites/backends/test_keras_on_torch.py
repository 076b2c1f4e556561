"""Keras on PyTorch, through Keras's own exporter: a recurrent layer has the one length that it was traced at."""

import pytest

from pytest_onnxprep import ParityError, onnx_export, parity

keras = pytest.importorskip("keras")
pytest.importorskip("torch")

BATCH = {"batch": (1, 4)}


def build_cnn():
    keras.utils.set_random_seed(0)
    image = keras.Input((None, None, 3), name="image")
    x = keras.layers.Conv2D(4, 3, activation="relu")(image)
    return keras.Model(image, keras.layers.Dense(2, name="y")(keras.layers.GlobalAveragePooling2D()(x)))


def build_lstm(length=None):
    keras.utils.set_random_seed(0)
    x = keras.Input((length, 4), name="x")
    return keras.Model(x, keras.layers.LSTM(3, name="y")(x))


def build_lstm_of_five():
    return build_lstm(5)


@onnx_export(build_cnn, inputs={"image": "float32[batch, h, w, 3]"}, dims={**BATCH, "h": (4, 9), "w": (4, 9)})
@parity(max_examples=20)
def test_cnn(onnx_model):
    assert onnx_model.provenance["exporter"] == "keras"
    assert onnx_model.operators["Conv"] == 1


@onnx_export(build_lstm_of_five, inputs={"x": "float32[batch, 5, 4]"}, dims=BATCH)
@parity(max_examples=20)
def test_lstm_of_one_length(onnx_model):
    assert onnx_model.operators["Tanh"] == 10  # five steps, written out


@pytest.mark.xfail(
    check="parity",
    strict=True,
    raises=ParityError,
    reason="Keras 3.15 on PyTorch exports by torch's TorchScript tracer, which writes the loop over time out for the "
    "length of the example: of longer inputs the file reads that many first steps alone, shorter ones it refuses",
)
@onnx_export(build_lstm, inputs={"x": "float32[batch, seq, 4]"}, dims={**BATCH, "seq": (1, 8)})
@parity(max_examples=20)
def test_lstm_over_any_length(onnx_model):
    assert "Loop" not in onnx_model.operators  # the day there is one, the length may have become free
