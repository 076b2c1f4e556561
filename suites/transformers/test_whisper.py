"""A Whisper writes down what it hears: the whole of it, and a decoding step that does not hear again."""

import pytest

from model_zoo.transformers_models import build_whisper
from pytest_onnxprep import latency_budget, onnx_export, parity, size_budget


@onnx_export(
    build_whisper,
    outputs={"logits": "float32[batch, target, 300]", "encoder_last_hidden_state": "float32[batch, 40, 48]"},
    dims={"batch": (1, 3), "target": (1, 12)},
    exporter="dynamo",  # without a cache, Transformers' masks take aten::diff, which torchscript cannot export
    opset=20,
)
@parity(atol=1e-4, rtol=1e-4)
@latency_budget(p95_ms=8, at={"batch": 1, "target": 1})
@size_budget(mb=0.9)
def test_whisper(onnx_model):
    features = onnx_model.signature.inputs["input_features"]
    assert str(features) == "float32[batch, 20, 80]"  # mel bands and frames, as the config has them
    assert onnx_model.operators["Conv"] == 2


@pytest.mark.quick
@onnx_export(build_whisper, dims={"batch": (1, 3), "target": (1, 2), "past": (1, 12)}, opset=17)
@parity(atol=1e-4, rtol=1e-4)
@latency_budget(p95_ms=5, at={"batch": 1, "target": 1, "past": 12})
@size_budget(mb=0.7)
def test_whisper_step(onnx_model):
    assert "Conv" not in onnx_model.operators  # the encoder is not in it
    assert str(onnx_model.signature.inputs["past_key_values.0.encoder.key"]) == "float32[batch, 4, 40, 12]"
