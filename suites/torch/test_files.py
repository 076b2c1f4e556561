"""TorchScript, programs of torch.export that know their own inputs, and a file of weights with the code beside it."""

from model_zoo.model_files import build_checkpoint, build_program, build_program_file, build_script_file, build_traced
from pytest_onnxprep import TensorSpec, latency_budget, onnx_export, parity, size_budget


@onnx_export(
    build_script_file,
    inputs={"image": TensorSpec("float32", "batch, 3, 64, 64", low=-3, high=3)},
    outputs={"logits": "float32[batch, 1000]"},
    dims={"batch": (1, 4)},
    opset=17,
)
@parity(max_examples=30)
@latency_budget(p95_ms=20, at={"batch": 1})
@size_budget(mb=15)
def test_mobilenet_script(onnx_model):
    assert onnx_model.provenance["exporter"] == "torchscript"
    assert "BatchNormalization" not in onnx_model.operators  # folded into the convolutions


@onnx_export(build_program_file, opset=[17, 20])
@parity(max_examples=30)
@latency_budget(p95_ms=40, at={"batch": 1})
@size_budget(mb=48)
def test_resnet_program(onnx_model):
    assert onnx_model.signature.dims["batch"].max == 8  # what torch.export was told


@onnx_export(build_program, exporter=["dynamo", "torchscript"], opset=18)
@parity()
@latency_budget(p95_ms=3, at={"batch": 1, "signal_dim2": 48})
@size_budget(mb=0.1)
def test_program(onnx_model):
    assert list(onnx_model.signature.inputs) == ["signal"]
    assert onnx_model.signature.dims["signal_dim2"].max == 96  # a program keeps no names of sizes


@onnx_export(
    build_traced,
    inputs={"luma": TensorSpec("float32", "batch, 1, h, w", low=0, high=1)},
    dims={"batch": (1, 4), "h": (1, 24), "w": (1, 24)},
    exporter=["torchscript", "dynamo"],
    opset=18,
)
@parity()
@latency_budget(p95_ms=10, at={"batch": 1, "h": 24, "w": 24})
@size_budget(mb=0.06)
def test_traced(onnx_model):
    assert onnx_model.operators["DepthToSpace"] == 1


@onnx_export(
    build_checkpoint,
    inputs={
        "numbers": "float32[batch, 12]",
        "weekday": TensorSpec("int64", "batch", low=0, high=7),
        "hour": TensorSpec("int64", "batch", low=0, high=24),
        "day": TensorSpec("int64", "batch", low=0, high=31),
    },
    dims={"batch": (1, 64)},
    opset=17,
)
@parity()
@latency_budget(p95_ms=0.5, at={"batch": 1})
@size_budget(mb=0.04)
def test_checkpoint(onnx_model):
    import torch
    from onnx import numpy_helper

    trained = build_checkpoint().state_dict()
    held = [torch.from_numpy(numpy_helper.to_array(weight).copy()) for weight in onnx_model.proto.graph.initializer]
    assert all(any(torch.equal(value, weight) for weight in held) for value in trained.values())
