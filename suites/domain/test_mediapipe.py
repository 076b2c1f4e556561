"""The .tflite models that MediaPipe ships, straight out of its wheel, held to the LiteRT interpreter."""

import importlib.metadata
from pathlib import Path

import pytest

from pytest_onnxprep import onnx_export, parity, size_budget

#: Models that cannot be held to anything, and why.
CANNOT = {
    "face_landmark_with_attention": "mediapipe 0.10.21: TransformLandmarks, TransformTensorBilinear and "
    "Landmarks2TransformMatrix are kernels of MediaPipe's own that no LiteRT interpreter has, so there is no reference"
}


def models():
    """Every .tflite file of the installed package, by its name."""
    files = importlib.metadata.files("mediapipe") or []
    return {Path(file).stem: Path(file.locate()) for file in files if str(file).endswith(".tflite")}


def marked(name):
    """The name, expected to fail where it is known to."""
    why = CANNOT.get(name)
    return pytest.param(name, marks=[pytest.mark.xfail(strict=True, reason=why)] if why else [])


@pytest.fixture(params=[marked(name) for name in sorted(models())])
def model(request):
    """The path of one model."""
    return models()[request.param]


@onnx_export()
@parity(max_examples=20)
@size_budget(mb=40)
def test_mediapipe(onnx_model):
    assert not [name for name in onnx_model.operators if "TFL" in name]
