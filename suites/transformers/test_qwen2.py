"""A Qwen2 from nothing but its config: the plugin makes the model, reads its inputs and its cache."""

import pytest

from model_zoo.transformers_models import build_qwen2
from pytest_onnxprep import latency_budget, onnx_export, parity, size_budget


@pytest.mark.quick
@onnx_export(build_qwen2, dims={"batch": (1, 3), "seq": (1, 4), "past": (1, 16)}, opset=17)
@parity(atol=1e-5, rtol=1e-4)
@latency_budget(p95_ms=5, at={"batch": 1, "seq": 1, "past": 16})
@size_budget(mb=0.5)
def test_qwen2(onnx_model):
    # Four heads share one key and one value: that is read off the cache itself.
    assert str(onnx_model.signature.inputs["past_key_values.1.value"]) == "float32[batch, 1, past, 12]"
    assert "Expand" in onnx_model.operators
