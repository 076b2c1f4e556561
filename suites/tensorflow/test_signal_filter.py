"""A filter bank over a signal of any length: convolution, energies, decibels; its input_signature says what goes in."""

import pytest

from model_zoo.tf_functions import build_signal_filter
from pytest_onnxprep import TensorSpec, latency_budget, onnx_export, parity, size_budget


@pytest.mark.quick
@onnx_export(
    build_signal_filter,
    inputs={"signal": TensorSpec("float32", "batch, samples", low=-1, high=1)},
    outputs=["energies_db"],
    dims={"batch": (1, 4), "samples": (64, 256)},
    opset=17,
)
@parity(atol=1e-3, rtol=1e-4)  # a decibel is felt, its thousandth is not
@latency_budget(p95_ms=1, at={"batch": 1, "samples": 256})
@size_budget(mb=0.01)
def test_signal_filter(onnx_model):
    import numpy as np

    high_tone = np.sin(2 * np.pi * 0.35 * np.arange(256, dtype="float32"))[None]
    answer = onnx_model.run({"signal": high_tone})["energies_db"]
    assert answer.shape == (1, 16, 4)
    assert (answer[0, 2:-2].argmax(axis=1) == 3).all()  # it passes the highest of the four bands
