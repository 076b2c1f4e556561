"""Super-resolution: the enlarged picture is the small one's channels, rearranged."""

import pytest

from model_zoo.torch_generative import build_espcn
from pytest_onnxprep import TensorSpec, latency_budget, onnx_export, parity, size_budget


@pytest.mark.quick
@onnx_export(
    build_espcn,
    inputs={"luma": TensorSpec("float32", "batch, 1, h, w", low=0, high=1)},
    outputs={"enlarged": "float32[batch, 1, 3 * h, 3 * w]"},
    dims={"batch": (1, 4), "h": (1, 48), "w": (1, 48)},
    opset=17,
)
@parity(atol=1e-5, rtol=1e-4)
@latency_budget(p95_ms=10, at={"batch": 1, "h": 32, "w": 32})
@size_budget(mb=0.04)
def test_espcn(onnx_model):
    assert onnx_model.operators["DepthToSpace"] == 1  # not a reshape, a transpose and a reshape
