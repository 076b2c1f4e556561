"""MobileNet's depthwise and pointwise convolutions must stay grouped, and ReLU6 a clip."""

from model_zoo.keras_edge import build_mobilenet_v1
from pytest_onnxprep import TensorSpec, latency_budget, onnx_export, parity, size_budget


@onnx_export(
    build_mobilenet_v1,
    inputs={"image": TensorSpec("float32", "batch, 64, 64, 3", low=-1, high=1)},
    outputs={"scores": "float32[batch, 20]"},
    dims={"batch": (1, 4)},
    opset=17,
)
@parity(atol=1e-5, rtol=1e-4)
@latency_budget(p95_ms=10, at={"batch": 1})
@size_budget(mb=0.2)
def test_mobilenet_v1(onnx_model):
    groups = [
        attribute.i
        for node in onnx_model.proto.graph.node
        if node.op_type == "Conv"
        for attribute in node.attribute
        if attribute.name == "group" and attribute.i > 1
    ]
    assert groups == [16, 32, 64, 64, 128]  # one group for each channel
    assert onnx_model.operators["Clip"] == 11
    assert onnx_model.operators["Transpose"] <= 2
