"""DenseNet joins every layer's output to all before it; BatchNorm comes first there and cannot be folded away."""

from model_zoo.torch_vision import build_densenet
from pytest_onnxprep import Dim, TensorSpec, latency_budget, onnx_export, parity, size_budget


@onnx_export(
    build_densenet,
    inputs={"image": TensorSpec("float32", "batch, 3, h, w", low=-3, high=3)},
    outputs={"logits": "float32[batch, 10]"},
    dims={"batch": (1, 4), "h": Dim(8, 48, multiple_of=4), "w": Dim(8, 48, multiple_of=4)},
    opset=17,
)
@parity(atol=1e-4, rtol=1e-4, max_examples=30)
@latency_budget(p95_ms=15, at={"batch": 1, "h": 32, "w": 32})
@size_budget(mb=0.35)
def test_densenet(onnx_model):
    assert onnx_model.operators["Concat"] == 9  # one join for each layer
    assert onnx_model.operators["AveragePool"] == 2
