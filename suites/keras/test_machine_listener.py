"""A subclassed Keras model that returns a dict: its inputs are declared, as only a first call tells it them."""

import pytest

from model_zoo.keras_edge import build_machine_listener
from pytest_onnxprep import TensorSpec, latency_budget, onnx_export, parity, size_budget


@pytest.mark.quick
@onnx_export(
    build_machine_listener,
    inputs={"frames": TensorSpec("float32", "batch, 64", low=-3, high=3)},
    outputs={"rebuilt": "float32[batch, 64]", "fault": "float32[batch]"},
    dims={"batch": (1, 16)},
    opset=17,
)
@parity(atol=1e-5, rtol=1e-4)
@latency_budget(p95_ms=0.5, at={"batch": 1})
@size_budget(mb=0.04)
def test_machine_listener(onnx_model):
    import numpy as np

    frames = np.random.default_rng(0).standard_normal((3, 64)).astype("float32")
    answers = onnx_model.run({"frames": frames})
    assert np.allclose(answers["fault"], ((frames - answers["rebuilt"]) ** 2).mean(axis=1), rtol=1e-4)
