"""A BERT classifier reads padded texts; all three exporters must agree with it, padding or none."""

from model_zoo.transformers_models import build_bert_classifier
from pytest_onnxprep import TensorSpec, latency_budget, onnx_export, parity, size_budget


@onnx_export(
    build_bert_classifier,
    inputs={
        "input_ids": TensorSpec("int64", "batch, seq", low=0, high=1000),
        "attention_mask": TensorSpec("int64", "batch, seq", values="mask"),
    },
    outputs={"logits": "float32[batch, 3]"},
    dims={"batch": (1, 8), "seq": (1, 64)},
    exporter=["torchscript", "dynamo", "transformers"],
    opset=18,
)
@parity(atol=1e-5, rtol=1e-4)
@latency_budget(p95_ms=3, at={"batch": 1, "seq": 32})
@size_budget(mb=2.8)
def test_bert(onnx_model):
    assert onnx_model.operators["LayerNormalization"] == 5
    assert onnx_model.operators["Softmax"] == 2  # one per layer
