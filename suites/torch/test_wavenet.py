"""WaveNet predicts the next sample at every place: dilated causal convolutions, gates, a sum of skips."""

from model_zoo.torch_signals import build_wavenet
from pytest_onnxprep import TensorSpec, latency_budget, onnx_export, parity, size_budget


@onnx_export(
    build_wavenet,
    inputs={"samples": TensorSpec("int64", "batch, time", low=0, high=256)},
    outputs={"logits": "float32[batch, 256, time]"},
    dims={"batch": (1, 3), "time": (1, 128)},
    opset=17,
)
@parity(atol=1e-4, rtol=1e-4)
@latency_budget(p95_ms=10, at={"batch": 1, "time": 96})
@size_budget(mb=0.25)
def test_wavenet(onnx_model):
    assert onnx_model.operators["Tanh"] == onnx_model.operators["Sigmoid"] == 6
