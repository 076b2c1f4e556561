"""U-Net labels every pixel; pictures need not be square, only halve four times."""

from model_zoo.torch_vision import build_unet
from pytest_onnxprep import Dim, TensorSpec, latency_budget, onnx_export, parity, size_budget


@onnx_export(
    build_unet,
    inputs={"image": TensorSpec("float32", "batch, 3, h, w", low=-3, high=3)},
    outputs={"mask_logits": "float32[batch, 2, h, w]"},
    dims={"batch": (1, 2), "h": Dim(32, 128, multiple_of=16), "w": Dim(32, 128, multiple_of=16)},
    opset=[17, 20],
)
@parity(atol=1e-4, rtol=1e-4, max_examples=30)
@latency_budget(p95_ms=30, at={"batch": 1, "h": 96, "w": 96})
@size_budget(mb=8.5)
def test_unet(onnx_model):
    # One skip connection and one learned upsampling per level.
    assert onnx_model.operators["Concat"] == onnx_model.operators["ConvTranspose"] == 4
    assert "BatchNormalization" not in onnx_model.operators
