"""A two-tower recommender: two named inputs, two named outputs, one of them to be put into a vector index."""

from model_zoo.keras_models import build_two_tower
from pytest_onnxprep import TensorSpec, latency_budget, onnx_export, parity, size_budget


@onnx_export(
    build_two_tower,
    inputs={
        "history": TensorSpec("int32", "batch, events", low=0, high=500),
        "item": "float32[batch, 16]",
    },
    outputs={"match": "float32[batch, 1]", "item_embedding": "float32[batch, 32]"},
    dims={"batch": (1, 8), "events": (1, 32)},
    opset=17,
)
@parity(atol=1e-5, rtol=1e-4)
@latency_budget(p95_ms=0.5, at={"batch": 1, "events": 16})
@size_budget(mb=0.12)
def test_two_tower(onnx_model):
    import numpy as np

    feeds = {"history": np.full((2, 3), 7, "int32"), "item": np.linspace(-1, 1, 32, dtype="float32").reshape(2, 16)}
    answers = onnx_model.run(feeds)
    assert set(answers) == {"match", "item_embedding"}
    # The index compares by dot product, so that embeddings must have unit length.
    assert np.allclose(np.linalg.norm(answers["item_embedding"], axis=1), 1, atol=1e-5)
