"""The .tflite models that MediaPipe ships, straight out of its wheel, held to the LiteRT interpreter."""

import importlib.metadata
from pathlib import Path

import pytest

from pytest_onnxprep import onnx_export, parity, size_budget


def models():
    """Every .tflite file of the installed package, by its name."""
    files = importlib.metadata.files("mediapipe") or []
    return {Path(file).stem: Path(file.locate()) for file in files if str(file).endswith(".tflite")}


@pytest.fixture(params=sorted(models()))
def model(request):
    """The path of one model."""
    return models()[request.param]


@onnx_export()
@parity(max_examples=20)
@size_budget(mb=40)
def test_mediapipe(onnx_model):
    assert not [name for name in onnx_model.operators if "TFL" in name]
