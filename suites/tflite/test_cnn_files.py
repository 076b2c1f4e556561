"""A TFLite file in floats and one in integers; each is held to the LiteRT interpreter."""

from model_zoo.model_files import build_tflite_cnn, build_tflite_cnn_int8
from pytest_onnxprep import latency_budget, onnx_export, parity, size_budget


@onnx_export(build_tflite_cnn, dims={"batch": (1, 4)}, opset=[15, 18])
@parity()
@latency_budget(p95_ms=10, at={"batch": 1})
@size_budget(mb=1.3)
def test_cnn_file(onnx_model):
    assert list(onnx_model.signature.inputs) == ["image"]
    assert onnx_model.output_names == ["scores"]


@onnx_export(build_tflite_cnn_int8, dims={"batch": (1, 4)}, opset=18)
@parity()
@latency_budget(p95_ms=20, at={"batch": 1})
@size_budget(mb=1.3)
def test_cnn_int8_file(onnx_model):
    assert str(onnx_model.signature.inputs["image"]) == "int8[batch, 32, 32, 3]"
    assert onnx_model.operators["QuantizeLinear"] > 5
