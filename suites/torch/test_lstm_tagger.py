"""A bidirectional LSTM tags every token of a sentence of any length."""

from model_zoo.torch_text import build_lstm_tagger
from pytest_onnxprep import TensorSpec, latency_budget, memory_budget, onnx_export, parity, size_budget, startup_budget


@onnx_export(
    build_lstm_tagger,
    inputs={"tokens": TensorSpec("int64", "batch, seq", low=0, high=1000)},
    outputs={"tag_logits": "float32[batch, seq, 17]"},
    dims={"batch": (1, 8), "seq": (1, 64)},
    exporter=["torchscript", "dynamo"],
    opset=18,
)
@parity(atol=1e-5, rtol=1e-4)
@latency_budget(p95_ms=1, at={"batch": 1, "seq": 32})
@memory_budget(model_mb=20, at={"batch": 8, "seq": 64})
@startup_budget(load_ms=100, first_run_ms=10, at={"batch": 1, "seq": 32})
@size_budget(mb=0.65)
def test_lstm_tagger(onnx_model):
    # One LSTM operator for both directions, not a loop over the tokens and not one copy per token.
    assert onnx_model.operators["LSTM"] == 1
    assert not {"Loop", "Scan"} & set(onnx_model.operators)
