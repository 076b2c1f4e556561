"""A Keras Sequential CNN; pictures of any size come in channels last, as Keras has them."""

from model_zoo.keras_models import build_cnn
from pytest_onnxprep import TensorSpec, latency_budget, onnx_export, parity, size_budget


@onnx_export(
    build_cnn,
    inputs={"image": TensorSpec("float32", "batch, h, w, 3", low=-3, high=3)},
    outputs={"scores": "float32[batch, 10]"},
    dims={"batch": (1, 4), "h": (8, 64), "w": (8, 64)},
    opset=[15, 17],
)
@parity(atol=1e-5, rtol=1e-4)
@latency_budget(p95_ms=3, at={"batch": 1, "h": 32, "w": 32})
@size_budget(mb=1.3)
def test_cnn(onnx_model):
    assert "BatchNormalization" not in onnx_model.operators
    # tf2onnx turns to channels first once and back at most once, not around every convolution.
    assert onnx_model.operators["Transpose"] <= 2
