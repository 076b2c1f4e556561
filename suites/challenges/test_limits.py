"""What this stack cannot do, and is documented not to: each a strict xfail, so that the day it works is noticed.

Where there is another way, it is the test beside it. More of these stand with their subjects, in the other files here.
"""

import pytest

from model_zoo.transformers_models import build_whisper
from pytest_onnxprep import ExportFailed, OnnxPrepError, ParityError, assert_parity, onnx_export, parity

tf = pytest.importorskip("tensorflow")
keras = pytest.importorskip("keras")
tf2onnx = pytest.importorskip("tf2onnx")

# -- TensorFlow and Keras -----------------------------------------------------------------------------------------

PICTURE = {"inputs": {"x": "float32[batch, 6, 6, 3]"}, "dims": {"batch": (1, 3)}}


def on_pictures(body):
    return lambda: tf.function(body, input_signature=[tf.TensorSpec((None, 6, 6, 3), name="x")])


@pytest.mark.xfail(strict=True, raises=ValueError, reason="tf2onnx 1.17 ends at opset 18")
def test_opset_19():
    """By tf2onnx itself: the plugin refuses it from its own table."""
    double = on_pictures(lambda x: {"y": x * 2})()
    tf2onnx.convert.from_function(double, input_signature=double.input_signature, opset=19)


def test_resize_by_area(onnx_exporter):
    """tf2onnx 1.17 makes another resize of it, silently: caught by parity."""
    model = onnx_exporter(on_pictures(lambda x: {"y": tf.image.resize(x, (3, 3), method="area")}), **PICTURE)
    with pytest.raises(ParityError, match="'y' differs"):
        assert_parity(model)


@onnx_export(on_pictures(lambda x: {"y": tf.nn.avg_pool2d(x, 2, 2, "VALID")}), **PICTURE)
@parity()
def test_resize_by_area_as_pooling(onnx_model):
    """By a whole number, that is what it is."""
    assert onnx_model.operators["AveragePool"] == 1


def build_attention():
    keras.utils.set_random_seed(0)
    x = keras.Input((None, 8), name="x")
    return keras.Model(x, keras.layers.MultiHeadAttention(2, 4)(x, x))


@pytest.mark.xfail(
    strict=True,
    raises=ParityError,
    reason="tf2onnx 1.17 writes einsum with a Reshape that ONNX Runtime refuses for an empty batch",
)
def test_attention_of_an_empty_batch(onnx_exporter):
    dims = {"batch": (0, 2), "seq": (1, 4)}
    assert_parity(onnx_exporter(build_attention, inputs={"x": "float32[batch, seq, 8]"}, dims=dims), max_examples=10)


@pytest.mark.xfail(
    strict=True,
    raises=OnnxPrepError,
    reason="Keras 3.15 cannot read the .h5 it writes of MobileNetV3: Only input tensors may be passed as positional",
)
def test_h5_of_mobilenet_v3(onnx_exporter, tmp_path):
    model = keras.applications.MobileNetV3Small(weights=None, input_shape=(32, 32, 3), classes=4)
    model.save(tmp_path / "mobilenet_v3.h5")
    onnx_exporter(tmp_path / "mobilenet_v3.h5")


@pytest.mark.xfail(
    strict=True,
    raises=ExportFailed,
    reason="ONNX Runtime 1.32 cannot load the Loop that tf2onnx 1.17 makes of two stacked LSTM layers of .tflite",
)
def test_stacked_lstm_of_tflite(onnx_exporter, tmp_path):
    x = keras.Input(batch_shape=(1, 6, 4), name="x")
    model = keras.Model(x, keras.layers.LSTM(3)(keras.layers.LSTM(3, return_sequences=True)(x)))
    path = tmp_path / "lstm.tflite"
    path.write_bytes(tf.lite.TFLiteConverter.from_keras_model(model).convert())
    onnx_exporter(path)


# -- Transformers -------------------------------------------------------------------------------------------------


@pytest.mark.xfail(strict=True, raises=ExportFailed, reason="torch 2.13: TorchScript has no translation of aten::diff")
def test_whisper_without_a_cache_in_torchscript(onnx_exporter):
    pytest.importorskip("transformers")
    onnx_exporter(build_whisper, outputs=["logits"], exporter="torchscript")


def build_mamba():
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    config = transformers.MambaConfig(vocab_size=100, hidden_size=16, num_hidden_layers=1, state_size=4)
    return transformers.MambaForCausalLM(config).eval()


TOKENS = {"dims": {"batch": (1, 2), "seq": (1, 6)}}


@pytest.mark.xfail(
    strict=True, raises=ParityError, reason="transformers 5.23: TorchScript unrolls Mamba's loop over the tokens"
)
def test_mamba_in_torchscript(onnx_exporter):
    assert_parity(onnx_exporter(build_mamba, **TOKENS, exporter="torchscript"), max_examples=10)


@pytest.mark.xfail(
    strict=True,
    raises=ExportFailed,
    reason="transformers 5.23: torch.export unrolls Mamba's loop, which fixes its length",
)
def test_mamba_in_dynamo(onnx_exporter):
    onnx_exporter(build_mamba, **TOKENS, exporter="dynamo")


@onnx_export(build_mamba, dims={"batch": (1, 2)}, shapes="fixed", exporter="torchscript")
@parity()
def test_mamba_of_one_length(onnx_model):
    assert "Loop" not in onnx_model.operators
