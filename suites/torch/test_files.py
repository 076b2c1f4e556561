"""A TorchScript file, and a program of torch.export that knows its own inputs."""

from model_zoo.model_files import build_program_file, build_script_file
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
