"""A RoBERTa tags every token; its positions are counted from the tokens that are not padding."""

import pytest

from model_zoo.transformers_models import build_roberta_tagger
from pytest_onnxprep import latency_budget, onnx_export, parity, size_budget


@pytest.mark.quick
@onnx_export(build_roberta_tagger, outputs={"logits": "float32[batch, seq, 9]"}, dims={"batch": (1, 6)}, opset=17)
@parity(atol=1e-5, rtol=1e-4)
@latency_budget(p95_ms=5, at={"batch": 1, "seq": 32})
@size_budget(mb=0.9)
def test_roberta_tagger(onnx_model):
    # 66 positions, of which the padding id and the one before it take two: the plugin read that from the model.
    assert onnx_model.signature.dims["seq"].max == 64
    assert onnx_model.operators["CumSum"] == 1
