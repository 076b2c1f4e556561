"""A Flax nnx CNN; pictures of any size come in channels last, as Flax has them."""

from model_zoo.jax_models import build_nnx_cnn
from pytest_onnxprep import TensorSpec, latency_budget, onnx_export, parity, size_budget


@onnx_export(
    build_nnx_cnn,
    inputs={"image": TensorSpec("float32", "batch, h, w, 3", low=-3, high=3)},
    outputs={"logits": "float32[batch, 10]"},
    dims={"batch": (1, 4), "h": (8, 48), "w": (8, 48)},
    opset=[17, 23],
)
@parity(atol=1e-5, rtol=1e-4, max_examples=30)
@latency_budget(p95_ms=5, at={"batch": 1, "h": 32, "w": 32})
@size_budget(mb=0.42)
def test_nnx_cnn(onnx_model):
    assert onnx_model.operators["Conv"] == 3
    # jax2onnx turns to channels first once and back at most once, not around every convolution.
    assert onnx_model.operators["Transpose"] <= 2
