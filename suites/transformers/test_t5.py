"""A T5 as two files: the whole of it for the first token, and a decoding step that goes on from both caches."""

from model_zoo.transformers_models import build_t5
from pytest_onnxprep import latency_budget, onnx_export, parity, size_budget

CACHE = [
    f"present.{layer}.{side}.{part}"
    for layer in range(2)
    for side in ("decoder", "encoder")
    for part in ("key", "value")
]


@onnx_export(
    build_t5,
    outputs=["logits", *CACHE],
    dims={"batch": (1, 3), "seq": (1, 16), "target": (1, 6)},
    exporter=["torchscript", "dynamo"],
    opset=18,
)
@parity(atol=1e-4, rtol=1e-4)
@latency_budget(p95_ms=8, at={"batch": 1, "seq": 16, "target": 1})
@size_budget(mb=1)
def test_t5(onnx_model):
    assert list(onnx_model.signature.inputs) == ["input_ids", "attention_mask", "decoder_input_ids"]
    assert onnx_model.operators["Softmax"] == 6  # two layers of the encoder, two of the decoder that attend twice


@onnx_export(
    build_t5,
    dims={"batch": (1, 3), "seq": (1, 16), "target": (1, 2), "past": (1, 12)},  # `past` asks for the step
    opset=17,
)
@parity(atol=1e-4, rtol=1e-4)
@latency_budget(p95_ms=5, at={"batch": 1, "seq": 16, "target": 1, "past": 12})
@size_budget(mb=0.8)
def test_t5_step(onnx_model):
    assert onnx_model.operators["Softmax"] == 4  # the encoder is not in it
    past = [name for name in onnx_model.signature.inputs if name.startswith("past_key_values.")]
    assert [name.replace("past_key_values", "present") for name in past] == CACHE
