"""A detector and its non-maximum suppression, left in Python or in a graph of its own; compared by what is found."""

import numpy as np

from pytest_onnxprep import Dim, Pipeline, Stage, TensorSpec, latency_budget, onnx_export, parity, size_budget
from suites.composition.parts import build_detector, build_fast_nms

PICTURE = {"image": TensorSpec("float32", "batch, 3, h, w", low=0, high=1)}
SIDES = {"batch": (1, 2), "h": Dim(64, 128, multiple_of=16), "w": Dim(64, 128, multiple_of=16)}


def nms(boxes, scores):
    """The detections of the first picture: greedy suppression, class by class."""
    confidence, label = scores[0].max(-1), scores[0].argmax(-1)
    kept = []
    for index in np.argsort(-confidence, kind="stable"):
        if confidence[index] <= 0.55:
            break
        if all(label[index] != label[other] or iou(boxes[0, index], boxes[0, other]) <= 0.5 for other in kept):
            kept.append(index)
    return {"boxes": boxes[0, kept], "scores": confidence[kept], "labels": label[kept]}


def iou(a, b):
    """Intersection over union of two boxes."""
    shared = np.clip(np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2]), 0, None).prod()
    return shared / ((a[2:] - a[:2]).prod() + (b[2:] - b[:2]).prod() - shared)


@onnx_export(
    Pipeline([build_detector, Stage(nms, export=False)]),
    inputs=PICTURE,
    dims=SIDES,
    exporter="torchscript",
    opset=17,
)
@parity(metrics={"iou": 0.98}, max_examples=24)
@latency_budget(p95_ms=60, at={"batch": 1, "h": 64, "w": 64})
@size_budget(mb=0.25)
def test_detector_with_nms_in_python(onnx_model):
    found = onnx_model.run({"image": np.linspace(0, 1, 3 * 96 * 96, dtype="float32").reshape(1, 3, 96, 96)})
    assert found["boxes"].shape == (len(found["scores"]), 4)
    assert len(found["boxes"]) > 0


@onnx_export(
    Pipeline([build_detector, Stage(build_fast_nms, name="nms")]),
    inputs=PICTURE,
    dims=SIDES,
    exporter=["torchscript", "dynamo"],
    opset=18,
)
@parity(metrics={"iou": 0.98}, max_examples=24)
@latency_budget(p95_ms=20, at={"batch": 1, "h": 64, "w": 64})
@size_budget(mb=0.35)
def test_detector_with_nms_in_the_graph(onnx_model):
    assert onnx_model.stages["nms"].operators["TopK"] == 1


def build_operator_nms():
    """TensorFlow's suppression, which becomes ONNX's own operator, for the first picture."""
    import tensorflow as tf

    @tf.function(
        input_signature=[
            tf.TensorSpec((1, None, 4), tf.float32, name="boxes"),
            tf.TensorSpec((1, None, 3), tf.float32, name="scores"),
        ]
    )
    def suppress(boxes, scores):
        confidence = tf.reduce_max(scores[0], axis=-1)
        kept = tf.image.non_max_suppression(boxes[0], confidence, 300, iou_threshold=0.5, score_threshold=0.55)
        return {"boxes": tf.gather(boxes[0], kept), "scores": tf.gather(confidence, kept)}

    return suppress


def detect(image):
    """The same with nothing but PyTorch's detector and Python."""
    import torch

    with torch.no_grad():
        found = {name: tensor.numpy() for name, tensor in build_detector()(torch.from_numpy(image)).items()}
    confidence = found["scores"].max(axis=-1, keepdims=True)  # one class: boxes suppress each other
    kept = nms(found["boxes"], confidence)
    return {"boxes": kept["boxes"], "scores": kept["scores"]}


@onnx_export(
    Pipeline([("detector", build_detector), ("nms", build_operator_nms)], reference=detect),
    inputs={"image": TensorSpec("float32", "1, 3, h, w", low=0, high=1)},
    dims={"h": SIDES["h"], "w": SIDES["w"]},
    opset=18,
)
@parity(metrics={"iou": 0.98}, max_examples=16)
@latency_budget(p95_ms=20, at={"h": 64, "w": 64})
@size_budget(mb=0.35)
def test_detector_with_nms_as_an_operator(onnx_model):
    assert onnx_model.operators["NonMaxSuppression"] == 1
