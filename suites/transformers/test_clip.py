"""CLIP compares every text with every picture: two inputs whose batches are free of each other."""

from model_zoo.transformers_models import build_clip
from pytest_onnxprep import latency_budget, onnx_export, parity, size_budget


@onnx_export(
    build_clip,
    outputs={
        "logits_per_image": "float32[batch, texts]",
        "logits_per_text": "float32[texts, batch]",
        "text_embeds": "float32[texts, 32]",
        "image_embeds": "float32[batch, 32]",
    },
    dims={"batch": (1, 3), "texts": (1, 4)},
    opset=17,
)
@parity(atol=1e-4, rtol=1e-4)
@latency_budget(p95_ms=8, at={"batch": 1, "texts": 2, "seq": 16})
@size_budget(mb=0.7)
def test_clip(onnx_model):
    import numpy as np

    rng = np.random.default_rng(0)
    feeds = {
        "input_ids": rng.integers(0, 400, (3, 7)),
        "attention_mask": np.ones((3, 7), "int64"),
        "pixel_values": rng.standard_normal((2, 3, 32, 32)).astype("float32"),
    }
    answers = onnx_model.run(feeds)
    assert np.array_equal(answers["logits_per_image"], answers["logits_per_text"].T)
    assert np.allclose(np.linalg.norm(answers["image_embeds"], axis=1), 1, atol=1e-5)
