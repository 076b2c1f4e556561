"""Files of Keras 3: a whole model in `.keras` and in `.h5`, and weights in a file whose model is code.

By tf2onnx and by Keras's own export.
"""

from model_zoo.keras_files import build_keras_file, build_keras_h5, build_keras_weights
from pytest_onnxprep import TensorSpec, latency_budget, onnx_export, parity, size_budget

BOTH = {"exporter": ["tf2onnx", "keras"], "opset": 17}


@onnx_export(
    build_keras_file,
    inputs={"usage": "float32[batch, 10]", "contract": TensorSpec("int32", "batch", low=0, high=6)},
    dims={"batch": (1, 32)},
    **BOTH,
)
@parity()
@latency_budget(p95_ms=0.5, at={"batch": 1})
@size_budget(mb=0.03)
def test_keras_file(onnx_model):
    # The inputs of the file are the keys of the dict, and not its order of them.
    assert {value.name for value in onnx_model.proto.graph.input} == {"usage", "contract"}
    assert onnx_model.output_names == ["churn"]


@onnx_export(
    build_keras_h5,
    inputs={"mfcc": "float32[batch, frames, 40]"},
    dims={"batch": (1, 4), "frames": (8, 60)},
    **BOTH,
)
@parity()
@latency_budget(p95_ms=1, at={"batch": 1, "frames": 49})
@size_budget(mb=0.15)
def test_keras_h5(onnx_model):
    assert onnx_model.operators["Conv"] == 3
    assert "BatchNormalization" not in onnx_model.operators


@onnx_export(build_keras_weights, inputs={"frames": "float32[batch, 64]"}, dims={"batch": (1, 16)}, **BOTH)
@parity()
@latency_budget(p95_ms=0.5, at={"batch": 1})
@size_budget(mb=0.04)
def test_keras_weights(onnx_model):
    assert onnx_model.operators["MatMul"] == 4
    assert set(onnx_model.output_names) == {"rebuilt", "fault"}
