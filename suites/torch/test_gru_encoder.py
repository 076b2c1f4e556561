"""A translation model's encoder: two bidirectional GRU layers, every state and the last one."""

import pytest

from model_zoo.torch_text import build_gru_encoder
from pytest_onnxprep import TensorSpec, latency_budget, onnx_export, parity, size_budget


@pytest.mark.quick
@onnx_export(
    build_gru_encoder,
    inputs={"tokens": TensorSpec("int64", "batch, seq", low=0, high=500)},
    outputs={"annotations": "float32[batch, seq, 80]", "state": "float32[batch, 40]"},
    dims={"batch": (1, 8), "seq": (1, 48)},
    opset=17,
)
@parity(atol=1e-5, rtol=1e-4)
@latency_budget(p95_ms=3, at={"batch": 1, "seq": 32})
@size_budget(mb=0.4)
def test_gru_encoder(onnx_model):
    assert onnx_model.operators["GRU"] == 2  # one for each layer, both directions in it
    assert not {"Loop", "Scan"} & set(onnx_model.operators)
