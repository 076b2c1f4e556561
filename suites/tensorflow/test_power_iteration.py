"""A tf.function with a while loop finds a matrix's largest singular value; its own signature says what goes in."""

from model_zoo.tf_functions import build_power_iteration
from pytest_onnxprep import latency_budget, onnx_export, parity, size_budget


@onnx_export(
    build_power_iteration,
    outputs={"spectral_norm": "float32[batch]"},
    dims={"batch": (1, 8)},  # the input_signature has None there
    opset=[17, 18],
)
@parity(atol=1e-5, rtol=1e-4)
@latency_budget(p95_ms=1, at={"batch": 4})
@size_budget(mb=0.01)
def test_power_iteration(onnx_model):
    assert onnx_model.operators["Loop"] == 1  # kept as a loop, not unrolled
    assert [value.name for value in onnx_model.proto.graph.input] == ["matrix"]  # no constant left as an input
