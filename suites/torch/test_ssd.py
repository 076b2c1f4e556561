"""A single-shot detector up to its boxes: their number follows from the picture's size, inside the graph."""

import pytest

from model_zoo.torch_vision import build_ssd
from pytest_onnxprep import Dim, TensorSpec, latency_budget, onnx_export, parity, size_budget


@pytest.mark.quick
@onnx_export(
    build_ssd,
    inputs={"image": TensorSpec("float32", "batch, 3, h, w", low=-3, high=3)},
    outputs=["boxes", "scores"],
    dims={"batch": (1, 3), "h": Dim(32, 128, multiple_of=16), "w": Dim(32, 128, multiple_of=16)},
    opset=17,
)
@parity(atol=1e-4, rtol=1e-4, max_examples=30)
@latency_budget(p95_ms=10, at={"batch": 1, "h": 96, "w": 96})
@size_budget(mb=0.5)
def test_ssd(onnx_model):
    import numpy as np

    answers = onnx_model.run({"image": np.zeros((1, 3, 48, 80), "float32")})
    boxes = 2 * (6 * 10 + 3 * 5)  # the default boxes are made in the graph, not those of the traced picture
    assert answers["boxes"].shape == (1, boxes, 4)
    assert np.allclose(answers["scores"].sum(axis=2), 1, atol=1e-5)
