"""A Llama generates: one file for the prompt and every step after it, a batch padded on the left."""

from model_zoo.transformers_models import build_llama
from pytest_onnxprep import latency_budget, onnx_export, parity, size_budget

CACHE = [f"{layer}.{part}" for layer in range(2) for part in ("key", "value")]


@onnx_export(
    build_llama,
    outputs=["logits", *(f"present.{name}" for name in CACHE)],
    dims={"batch": (1, 3), "seq": (1, 12)},
    opset=17,
)
@parity(atol=1e-5, rtol=1e-4)
@latency_budget(p95_ms=5, at={"batch": 1, "seq": 12})
@size_budget(mb=0.7)
def test_llama_prompt(onnx_model):
    assert list(onnx_model.signature.inputs) == ["input_ids", "attention_mask"]


@onnx_export(
    build_llama,
    dims={"batch": (1, 3), "seq": (1, 6), "past": (0, 24)},  # a past of nothing is the prompt
    exporter=["torchscript", "dynamo"],
    opset=18,
)
@parity(atol=1e-5, rtol=1e-4)
@latency_budget(p95_ms=5, at={"batch": 1, "seq": 1, "past": 24})
@size_budget(mb=0.75)
def test_llama(onnx_model):
    import numpy as np
    import torch

    prompt = np.array([[0, 0, 0, 7, 8, 9], [11, 12, 13, 14, 15, 16]])
    mask = (prompt != 0).astype("int64")  # padded on the left: every row goes on from its last token
    said = build_llama().generate(torch.tensor(prompt), attention_mask=torch.tensor(mask), max_new_tokens=8)

    past = {f"past_key_values.{name}": np.zeros((2, 2, 0, 16), "float32") for name in CACHE}
    tokens, written = prompt, prompt
    while written.shape[1] < said.shape[1]:
        positions = np.maximum(mask.cumsum(axis=1) - 1, 0)[:, -tokens.shape[1] :]
        feeds = {"input_ids": tokens, "attention_mask": mask, "position_ids": positions, **past}
        answers = onnx_model.run(feeds)
        tokens = answers["logits"][:, -1:].argmax(axis=2)
        written = np.concatenate([written, tokens], axis=1)
        mask = np.concatenate([mask, np.ones((2, 1), "int64")], axis=1)
        past = {f"past_key_values.{name}": answers[f"present.{name}"] for name in CACHE}
    assert written.tolist() == said.tolist()
