"""A Flax linen CNN with group normalisation, given as the pair of module and variables."""

from model_zoo.jax_networks import build_linen_cnn
from pytest_onnxprep import TensorSpec, latency_budget, onnx_export, parity, size_budget


@onnx_export(
    build_linen_cnn,
    inputs={"image": TensorSpec("float32", "batch, 24, 24, 1", low=-1, high=1)},
    outputs={"logits": "float32[batch, 10]"},
    dims={"batch": (1, 4)},
)
@parity()  # a picture of one grey has no variance: the normalisation divides by its epsilon, in JAX too
@latency_budget(p95_ms=10, at={"batch": 1})
@size_budget(mb=0.2)
def test_linen_cnn(onnx_model):
    assert onnx_model.operators["Conv"] == 3
    assert "Dropout" not in onnx_model.operators
