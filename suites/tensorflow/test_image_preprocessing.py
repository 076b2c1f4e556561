"""What stands before a picture model: bytes of any size in, normalised pixels out."""

from model_zoo.tf_functions import build_image_preprocessing
from pytest_onnxprep import latency_budget, onnx_export, parity, size_budget


@onnx_export(
    build_image_preprocessing,
    inputs={"image": "uint8[h, w, 3]"},
    outputs={"pixels": "float32[1, 3, 32, 32]"},
    dims={"h": (8, 96), "w": (8, 96)},
    opset=[17, 18],
)
@parity(atol=1e-4, rtol=1e-4)
@latency_budget(p95_ms=5, at={"h": 64, "w": 80})
@size_budget(mb=0.01)
def test_image_preprocessing(onnx_model):
    assert onnx_model.operators["Resize"] == 1
