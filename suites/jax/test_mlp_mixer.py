"""An MLP-Mixer in Equinox: perceptrons across the patches and within them, over the batch by jax.vmap."""

from model_zoo.jax_networks import build_mlp_mixer
from pytest_onnxprep import TensorSpec, latency_budget, onnx_export, parity, size_budget


@onnx_export(
    build_mlp_mixer,
    inputs={"image": TensorSpec("float32", "batch, 3, 32, 32", low=-3, high=3)},
    outputs={"logits": "float32[batch, 10]"},
    dims={"batch": (1, 4)},
)
@parity(max_examples=30)  # the normalisation of what is almost constant loses digits, in JAX too
@latency_budget(p95_ms=5, at={"batch": 1})
@size_budget(mb=0.2)
def test_mlp_mixer(onnx_model):
    assert onnx_model.operators["Conv"] == 1
    assert "Loop" not in onnx_model.operators
