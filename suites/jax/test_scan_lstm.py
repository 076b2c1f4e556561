"""An LSTM written out and run by lax.scan: every state and an alarm, over a signal of any length."""

from model_zoo.jax_networks import build_scan_lstm
from pytest_onnxprep import TensorSpec, latency_budget, onnx_export, parity, size_budget


@onnx_export(
    build_scan_lstm,
    inputs={"readings": TensorSpec("float32", "batch, seq, 5", low=-3, high=3)},
    outputs={"states": "float32[batch, seq, 24]", "alarm": "float32[batch]"},
    dims={"batch": (1, 4), "seq": (1, 24)},
)
@parity(atol=1e-5, rtol=1e-4)
@latency_budget(p95_ms=5, at={"batch": 1, "seq": 16})
@size_budget(mb=0.03)
def test_scan_lstm(onnx_model):
    assert {"Loop", "Scan"} & set(onnx_model.operators)  # kept as a loop, not unrolled
