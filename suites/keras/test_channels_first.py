"""Keras's pictures are channels last; `inputs_as_nchw` and `outputs_as_nchw` give a file whose are channels first.

What is declared is what the model takes, so that one test holds both kinds of file to it.
"""

import pytest

from model_zoo.keras_edge import build_road_segmenter
from model_zoo.keras_models import build_cnn
from pytest_onnxprep import TensorSpec, latency_budget, onnx_export, parity, size_budget


@pytest.mark.quick
@onnx_export(
    build_cnn,
    inputs={"image": TensorSpec("float32", "batch, h, w, 3", low=-3, high=3)},
    outputs={"scores": "float32[batch, 10]"},
    dims={"batch": (1, 4), "h": (8, 40), "w": (8, 40)},
    opset=18,
    options=[{}, {"inputs_as_nchw": ["image"]}],
)
@parity()
@latency_budget(p95_ms=5, at={"batch": 1, "h": 32, "w": 32})
@size_budget(mb=1.3)
def test_cnn_both_ways(onnx_model):
    shape = onnx_model.session.get_inputs()[0].shape
    if onnx_model.layout:
        assert shape == ["batch", 3, "h", "w"]
        assert onnx_model.operators["Transpose"] == 1  # in front of the mean; none in front of the first convolution
    else:
        assert shape == ["batch", "h", "w", 3]
        assert onnx_model.operators["Transpose"] == 2


@onnx_export(
    build_road_segmenter,
    inputs={"image": TensorSpec("float32", "batch, 48, 64, 3", low=0, high=1)},
    outputs={"road": "float32[batch, 48, 64, 1]"},
    dims={"batch": (1, 3)},
    opset=18,
    options={"inputs_as_nchw": ["image"], "outputs_as_nchw": ["road"]},
)
@parity()
@latency_budget(p95_ms=15, at={"batch": 1})
@size_budget(mb=0.15)
def test_road_segmenter_channels_first(onnx_model):
    assert onnx_model.session.get_inputs()[0].shape == ["batch", 3, 48, 64]
    assert onnx_model.session.get_outputs()[0].shape == ["batch", 1, 48, 64]
    assert "Transpose" not in onnx_model.operators  # there is nothing left to turn
