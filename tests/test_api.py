"""The functions for tests, scripts and notebooks without marks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pytest_onnxprep import api
from pytest_onnxprep.artifacts.onnx_model import OnnxModel
from pytest_onnxprep.spec.signature import Signature
from pytest_onnxprep.spec.tensor import TensorSpec
from pytest_onnxprep.spec.variant import Variant


def test_memory_is_measured_with_the_models_custom_operators(monkeypatch: pytest.MonkeyPatch) -> None:
    """The processes that `measure_memory` starts are told of the libraries that the file needs, and of the provider."""
    asked: dict[str, Any] = {}
    monkeypatch.setattr(api, "measure_children", lambda path, feeds, **options: asked.update(options))
    variant = Variant("torchscript", 17, {"ort_custom_ops": "libcube.so"})
    source: Any = None
    model = OnnxModel(
        Path("net.onnx"), Signature({"x": TensorSpec("float32", (2,))}), source, variant, {}, provider="cpu"
    )

    api.measure_memory(model, peak_mb=120)

    assert asked["custom_ops"] == ("libcube.so",)
    assert asked["provider"] == "cpu"
    assert asked["budgets"] == {"peak_mb": 120}
