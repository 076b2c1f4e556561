"""A small U-Net: a probability for every pixel, learned upsampling, skips joined channels last."""

from model_zoo.keras_edge import build_road_segmenter
from pytest_onnxprep import TensorSpec, latency_budget, onnx_export, parity, size_budget


@onnx_export(
    build_road_segmenter,
    inputs={"image": TensorSpec("float32", "batch, 48, 64, 3", low=0, high=1)},
    outputs={"road": "float32[batch, 48, 64, 1]"},
    dims={"batch": (1, 3)},
    opset=17,
)
@parity(atol=1e-5, rtol=1e-4)
@latency_budget(p95_ms=15, at={"batch": 1})
@size_budget(mb=0.15)
def test_road_segmenter(onnx_model):
    assert onnx_model.operators["Concat"] == onnx_model.operators["ConvTranspose"] == 2
