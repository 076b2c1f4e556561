"""GPT-2 goes on from a key/value cache: the cache goes in under `past_key_values.*` and comes out grown by `seq`."""

from model_zoo.transformers_models import build_gpt2
from pytest_onnxprep import TensorSpec, latency_budget, onnx_export, parity, size_budget


def cache(name, tensor):
    """One key and one value for each of the two layers."""
    return {f"{name}.{layer}.{part}": tensor for layer in range(2) for part in ("key", "value")}


@onnx_export(
    build_gpt2,
    inputs={
        "input_ids": TensorSpec("int64", "batch, seq", low=0, high=1000),
        "attention_mask": TensorSpec("int64", "batch, past + seq", values="mask"),
        **cache("past_key_values", TensorSpec("float32", "batch, 2, past, 32", low=-2, high=2)),
    },
    outputs={"logits": "float32[batch, seq, 1000]", **cache("present", "float32[batch, 2, past + seq, 32]")},
    dims={"batch": (1, 4), "seq": (1, 8), "past": (1, 32)},
    exporter=["torchscript", "dynamo"],
    opset=18,
)
@parity(atol=1e-5, rtol=1e-4)
@latency_budget(p95_ms=1, at={"batch": 1, "seq": 1, "past": 32})  # one decoding step
@size_budget(mb=1.15)
def test_gpt2(onnx_model):
    import numpy as np

    past = np.ones((1, 2, 5, 32), "float32")
    feeds = {"input_ids": np.array([[7]]), "attention_mask": np.ones((1, 6), "int64"), **cache("past_key_values", past)}
    answers = onnx_model.run(feeds)
    # The old cache is handed on untouched; the new token's entry follows it.
    assert all(
        (answers[name][:, :, :5] == past).all() and answers[name].shape[2] == 6 for name in cache("present", past)
    )
