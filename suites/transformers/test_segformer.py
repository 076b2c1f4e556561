"""SegFormer labels every pixel of a picture of any size that halves five times: the plugin knows by how much."""

from model_zoo.transformers_models import build_segformer
from pytest_onnxprep import latency_budget, onnx_export, parity, size_budget


@onnx_export(
    build_segformer,
    outputs={"logits": "float32[batch, 6, height // 4, width // 4]"},
    dims={"batch": (1, 2)},
    opset=17,
)
@parity(atol=1e-4, rtol=1e-4, max_examples=30)
@latency_budget(p95_ms=20, at={"batch": 1, "height": 64, "width": 64})
@size_budget(mb=0.8)
def test_segformer(onnx_model):
    assert onnx_model.signature.dims["height"].multiple_of == 32
    assert onnx_model.operators["Resize"] >= 3  # the three smaller stages are enlarged to the first
