"""An Equinox GRU run over a signal of any length by lax.scan, over the batch by jax.vmap."""

from model_zoo.jax_models import build_eqx_gru
from pytest_onnxprep import TensorSpec, latency_budget, onnx_export, parity, size_budget


@onnx_export(
    build_eqx_gru,
    inputs={"signal": TensorSpec("float32", "batch, seq, 8", low=-3, high=3)},
    outputs={"logits": "float32[batch, 5]"},
    dims={"batch": (1, 4), "seq": (1, 24)},
)
@parity(atol=1e-5, rtol=1e-4)
@latency_budget(p95_ms=5, at={"batch": 1, "seq": 24})
@size_budget(mb=0.05)
def test_eqx_gru(onnx_model):
    assert onnx_model.operators["Loop"] == 1  # kept as a loop, not unrolled
