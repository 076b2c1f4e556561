"""The library's ViT, by torch's exporter and by its own: what it takes is read from the config."""

from model_zoo.transformers_models import build_vit_classifier
from pytest_onnxprep import latency_budget, onnx_export, parity, size_budget


@onnx_export(
    build_vit_classifier,
    outputs={"logits": "float32[batch, 10]"},
    dims={"batch": (1, 6)},
    exporter=["torchscript", "transformers"],
    opset=18,
)
@parity(atol=1e-5, rtol=1e-4, max_examples=30)
@latency_budget(p95_ms=5, at={"batch": 1})
@size_budget(mb=0.65)
def test_vit_classifier(onnx_model):
    assert str(onnx_model.signature.inputs["pixel_values"]) == "float32[batch, 3, 32, 32]"
    assert onnx_model.operators["LayerNormalization"] == 5
