"""A TFLite file in floats, halves, steps and integers; each is held to the LiteRT interpreter."""

from model_zoo.model_files import (
    build_tflite_cnn,
    build_tflite_cnn_dynamic,
    build_tflite_cnn_float16,
    build_tflite_cnn_int8,
    build_tflite_cnn_uint8,
)
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


@onnx_export(build_tflite_cnn_uint8, dims={"batch": (1, 4)}, opset=18)
@parity()
@latency_budget(p95_ms=20, at={"batch": 1})
@size_budget(mb=1.3)
def test_cnn_uint8_file(onnx_model):
    assert str(onnx_model.signature.inputs["image"]) == "uint8[batch, 32, 32, 3]"
    assert onnx_model.describe().outputs[0].dtype == "uint8"


@onnx_export(build_tflite_cnn_float16, dims={"batch": (1, 4)}, opset=18)
@parity()
@latency_budget(p95_ms=10, at={"batch": 1})
@size_budget(mb=1.3)
def test_cnn_float16_file(onnx_model):
    import numpy as np
    from onnx import numpy_helper

    kept = [numpy_helper.to_array(weight) for weight in onnx_model.proto.graph.initializer]
    kernels = [values for values in kept if values.ndim == 4]
    assert len(kernels) == 6
    # Half precision is how the weights are kept, not what is computed in.
    assert {values.dtype for values in kernels} == {np.dtype("float32")}
    assert all(np.array_equal(values, values.astype("float16")) for values in kernels)


@onnx_export(build_tflite_cnn_dynamic, dims={"batch": (1, 4)}, opset=18)
@parity()
@latency_budget(p95_ms=10, at={"batch": 1})
@size_budget(mb=0.35)
def test_cnn_dynamic_file(onnx_model):
    assert {weights.dtype for weights in onnx_model.describe().initializers} >= {"int8"}
    assert onnx_model.operators["DequantizeLinear"] >= 6  # of weights: the activations are floats
    assert "QuantizeLinear" not in onnx_model.operators
