"""The .tflite models that MediaPipe ships, straight out of its wheel, held to the LiteRT interpreter."""

import pytest

from pytest_onnxprep import onnx_export, parity, size_budget
from pytest_onnxprep.errors import SourceError
from suites.domain.pretrained import shipped

MODELS = shipped("mediapipe", ".tflite", 14)

#: Models that cannot be held to anything, and why.
CANNOT = {
    "face_landmark_with_attention.tflite": "mediapipe 0.10.21: TransformLandmarks, TransformTensorBilinear and "
    "Landmarks2TransformMatrix are kernels of MediaPipe's own that no LiteRT interpreter has, so there is no reference"
}


def marked(name):
    """The name, expected to fail where it is known to."""
    why = CANNOT.get(name)
    marks = [pytest.mark.xfail(strict=True, raises=SourceError, reason=why)] if why else []
    return pytest.param(name, marks=marks, id=name.removesuffix(".tflite"))


@pytest.fixture(params=[marked(name) for name in sorted(MODELS)])
def model(request):
    """The path of one model."""
    return MODELS[request.param]


@onnx_export()
@parity(max_examples=20)
@size_budget(mb=40)
def test_mediapipe(onnx_model):
    assert not [name for name in onnx_model.operators if "TFL" in name]
