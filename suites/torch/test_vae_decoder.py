"""A variational autoencoder's decoder makes pictures of latent vectors."""

from model_zoo.torch_generative import build_vae_decoder
from pytest_onnxprep import TensorSpec, latency_budget, onnx_export, parity, size_budget


@onnx_export(
    build_vae_decoder,
    inputs={"latent": TensorSpec("float32", "batch, 16", low=-4, high=4)},
    outputs={"picture": "float32[batch, 1, 32, 32]"},
    dims={"batch": (1, 8)},
    opset=17,
)
@parity(atol=1e-5, rtol=1e-4)
@latency_budget(p95_ms=10, at={"batch": 1})
@size_budget(mb=0.85)
def test_vae_decoder(onnx_model):
    assert onnx_model.operators["ConvTranspose"] == 3
