"""A GAN's generator: transposed convolutions, whose BatchNorm is folded into them."""

from model_zoo.torch_generative import build_dcgan
from pytest_onnxprep import TensorSpec, latency_budget, onnx_export, parity, size_budget


@onnx_export(
    build_dcgan,
    inputs={"noise": TensorSpec("float32", "batch, 32", low=-3, high=3)},
    outputs={"picture": "float32[batch, 3, 64, 64]"},
    dims={"batch": (1, 4)},
    opset=17,
)
@parity(atol=1e-4, rtol=1e-4)
@latency_budget(p95_ms=15, at={"batch": 1})
@size_budget(mb=1)
def test_dcgan(onnx_model):
    assert onnx_model.operators["ConvTranspose"] == 5
