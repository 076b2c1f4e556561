"""From text to label: what a tokenizer makes goes through the file, and the label is the library's own pipeline's."""

import pytest

from model_zoo.texts import build_wordpiece
from model_zoo.transformers_models import build_bert_classifier
from pytest_onnxprep import latency_budget, onnx_export, parity, size_budget

TEXTS = ["The battery works.", "Why did the motor stop at 40 degrees?", "a quiet, cold and dark road", "!?", "BROKEN"]


def tokenize(texts):
    """Padded to the longest text, as a service would; this model takes no token types."""
    return build_wordpiece()(texts, padding=True, return_token_type_ids=False, return_tensors="np")


@pytest.mark.quick
@onnx_export(
    build_bert_classifier,
    dims={"batch": (1, 5), "seq": (1, 40)},
    samples=lambda: [tokenize(TEXTS), *(tokenize([text]) for text in TEXTS)],
    opset=17,
)
@parity(atol=1e-5, rtol=1e-4)
@latency_budget(p95_ms=5, at={"batch": 1, "seq": 32})
@size_budget(mb=2.8)
def test_text_to_label(onnx_model):
    import numpy as np
    import transformers

    logits = onnx_model.run(tokenize(TEXTS))["logits"]
    chances = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    classify = transformers.pipeline("text-classification", model=build_bert_classifier(), tokenizer=build_wordpiece())
    for text, row in zip(TEXTS, chances, strict=True):
        (expected,) = classify([text])
        assert expected["label"] == f"LABEL_{row.argmax()}"
        assert np.isclose(expected["score"], row.max(), atol=1e-4)
