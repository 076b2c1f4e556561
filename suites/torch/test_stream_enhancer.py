"""A streaming speech enhancer: inputs in tuples and dicts, some left out, and a dataclass that comes out."""

import pytest

from model_zoo.torch_signals import build_stream_enhancer
from pytest_onnxprep import TensorSpec, latency_budget, onnx_export, parity, size_budget

FRAME = {
    "spectrum": TensorSpec("float32", "batch, 33", low=0, high=4),
    "state.0": TensorSpec("float32", "batch, 24", low=-1, high=1),
    "state.1": TensorSpec("float32", "batch, 24", low=-1, high=1),
    "microphone.level": "float32[batch, 1]",
    "microphone.tilt": TensorSpec("float32", "33", low=0.5, high=2),
}
OPTIONAL = {
    "floor": TensorSpec("float32", (), low=0, high=0.3),
    "gain": TensorSpec("float32", "batch, 1", low=0, high=2),
}
ANSWERS = ["clean", "next_state.0", "next_state.1", "levels.before", "levels.after"]


@pytest.mark.quick
@onnx_export(build_stream_enhancer, inputs=FRAME, dims={"batch": (1, 4)}, exporter=["torchscript", "dynamo"], opset=18)
@parity()
@latency_budget(p95_ms=1, at={"batch": 1})
@size_budget(mb=0.1)
def test_frame(onnx_model):
    assert [value.name for value in onnx_model.proto.graph.input] == list(FRAME)  # what is optional is no input
    assert onnx_model.output_names == ANSWERS


@onnx_export(
    build_stream_enhancer,
    inputs={**FRAME, **OPTIONAL},
    dims={"batch": (1, 4)},
    exporter=["torchscript", "dynamo"],
    opset=18,
)
@parity()
@latency_budget(p95_ms=1, at={"batch": 1})
@size_budget(mb=0.1)
def test_frame_with_floor_and_gain(onnx_model):
    assert [value.name for value in onnx_model.proto.graph.input] == [*FRAME, *OPTIONAL]
    assert onnx_model.output_names == ANSWERS
