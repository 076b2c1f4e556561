"""MobileNetV2 classifies pictures on a phone: fast, small, nothing but plain convolutions left in the graph."""

from model_zoo.torch_vision import build_mobilenet_v2
from pytest_onnxprep import Dim, TensorSpec, fits, latency_budget, onnx_export, operators, parity, size_budget


@onnx_export(
    build_mobilenet_v2,
    inputs={"image": TensorSpec("float32", "batch, 3, h, w", low=-3, high=3)},
    outputs={"logits": "float32[batch, 1000]"},
    dims={"batch": (1, 4), "h": Dim(64, 224, multiple_of=32), "w": Dim(64, 224, multiple_of=32)},
    opset=[17, 20],
)
@parity(atol=1e-4, rtol=1e-4, max_examples=30)
@latency_budget(p50_ms=25, p95_ms=40, at={"batch": 1, "h": 224, "w": 224})
@size_budget(mb=16)
@operators(allowed=["Conv", "Clip", "Add", "ReduceMean", "Gemm"], opset_max=21)
@fits("android-midrange", at={"batch": 1, "h": 224, "w": 224})
def test_mobilenet_v2(onnx_model):
    compute = {"Conv", "Clip", "Add", "ReduceMean", "Gemm"}
    assert set(onnx_model.operators) - {"Constant"} == compute
