"""Pairs that belong together: a generator and its critic, an image tower and a text tower."""

import numpy as np

from pytest_onnxprep import Pipeline, Stage, TensorSpec, latency_budget, onnx_export, parity, size_budget
from suites.composition.parts import (
    VOCABULARY,
    build_discriminator,
    build_generator,
    build_image_tower,
    build_text_tower,
)


@onnx_export(
    Pipeline(
        [
            Stage(build_generator, outputs=["picture"]),
            Stage(
                build_discriminator,
                inputs={"picture": TensorSpec("float32", "batch, 3, 32, 32", low=-1, high=1)},
                outputs=["realness"],
            ),
        ],
        outputs=["picture", "realness"],
    ),
    inputs={"noise": "float32[batch, 16]"},
    dims={"batch": (1, 8)},
    exporter=["torchscript", "dynamo"],
    opset=18,
)
@parity(max_examples=24)
@latency_budget(p95_ms=10, at={"batch": 1})
@size_budget(mb=0.2)
def test_generator_and_discriminator(onnx_model):
    picture = onnx_model.run({"noise": np.zeros((1, 16), "float32")})["picture"]
    assert abs(picture).max() <= 1


def similarity(image_embedding, text_embedding):
    """Cosines, as percentages of all texts."""
    logits = 10 * image_embedding @ text_embedding.T
    weights = np.exp(logits - logits.max(-1, keepdims=True))
    return {"match": weights / weights.sum(-1, keepdims=True)}


@onnx_export(
    Pipeline(
        [
            Stage(build_image_tower, takes={"image": "image"}, outputs=["image_embedding"]),
            Stage(build_text_tower, takes=["tokens", "mask"], outputs=["text_embedding"]),
            Stage(similarity, export=False),
        ],
        outputs=["match", "image_embedding", "text_embedding"],
    ),
    inputs={
        "image": TensorSpec("float32", "batch, 3, h, w", low=0, high=1),
        "tokens": TensorSpec("int64", "texts, words", low=0, high=VOCABULARY),
        "mask": TensorSpec("int64", "texts, words", values="mask"),
    },
    dims={"batch": (1, 4), "texts": (1, 6), "h": (16, 40), "w": (16, 40), "words": (1, 12)},
    exporter="torchscript",
    opset=17,
)
@parity(max_examples=24)
@latency_budget(p95_ms=10, at={"batch": 1, "texts": 4, "h": 32, "w": 32, "words": 8})
@size_budget(mb=0.1)
def test_two_towers(onnx_model):
    assert list(onnx_model.stages) == ["image_tower", "text_tower"]
