"""2.35 GB of weights, more than one protobuf holds: exported, validated, run and reported with external data."""

import pytest

from model_zoo.torch_large import LAYERS, WIDTH, build_wide_mlp
from pytest_onnxprep import onnx_export, parity, size_budget


@pytest.mark.large
@onnx_export(
    build_wide_mlp,
    inputs={"x": f"float32[batch, {WIDTH}]"},
    outputs={"y": f"float32[batch, {WIDTH}]"},
    dims={"batch": (1, 4)},
    opset=20,
)
@parity(max_examples=8)
@size_budget(mb=2400)
def test_wide_mlp(onnx_model):
    description = onnx_model.describe()
    assert description.operators == {"Gemm": LAYERS, "Relu": LAYERS - 1}
    assert description.weights_bytes > 2**31
    assert sum(description.external_files.values()) >= description.weights_bytes
    assert onnx_model.path.stat().st_size < 1_000_000
