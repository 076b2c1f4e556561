"""A keyword spotter for web pages, held to TensorFlow.js under node; skipped without `npm install @tensorflow/tfjs`."""

from model_zoo.model_files import build_tfjs_kws
from pytest_onnxprep import TensorSpec, latency_budget, onnx_export, parity, size_budget


@onnx_export(
    build_tfjs_kws,
    inputs={"mfcc": TensorSpec("float32", "batch, frames, 40", low=-3, high=3)},
    outputs={"keywords": "float32[batch, 12]"},
    dims={"batch": (1, 4), "frames": (8, 98)},
    opset=[15, 18],
)
@parity()
@latency_budget(p95_ms=5, at={"batch": 1, "frames": 49})
@size_budget(mb=0.16)
def test_kws_web(onnx_model):
    assert onnx_model.operators["Conv"] == 3
    assert {"Loop", "If"}.isdisjoint(onnx_model.operators)
    assert list(onnx_model.signature.inputs) == ["mfcc"]
