"""Agreement of answers as a user of the model sees them: detected boxes, and sequences of tokens.

Two detectors agree where they find the same things, whatever the order in which they list them; a box at the threshold
of the confidence may be missing on one side. Two decoders agree where they say the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from pytest_onnxprep.errors import SpecError

Arrays = Mapping[str, np.ndarray]

#: Metrics that look at several outputs, or at sequences, at once.
TASK_METRICS = ("iou", "tokens")
#: Scores of one and the same detection may be so far apart.
SCORE_TOLERANCE = 1e-3


@dataclass(frozen=True)
class TaskValue:
    """One task metric of one example.

    Args:
        output: the output to name in a message.
        value: in 0..1.
        covered: the outputs it speaks for, which need not agree element by element.
        count: how many detections or tokens the reference has: of none, nothing is said.
    """

    output: str
    value: float
    covered: tuple[str, ...]
    count: int


def task_value(metric: str, expected: Arrays, actual: Arrays) -> TaskValue:
    """Compute a task metric.

    Raises:
        SpecError: the model has no outputs of that kind.
    """
    return _iou(expected, actual) if metric == "iou" else _tokens(expected, actual)


def _iou(expected: Arrays, actual: Arrays) -> TaskValue:
    """Mean intersection over union of the detections, paired off; one without a partner counts 0."""
    boxes, scores, labels = detections(expected)
    covered = tuple(name for name in (boxes, scores, labels) if name)
    if any(name not in actual or actual[name].ndim != expected[name].ndim for name in covered):
        return TaskValue(boxes, 0.0, (), int(np.prod(expected[boxes].shape[:-1])))
    one = _of_images(expected, boxes, scores, labels)
    other = _of_images(actual, boxes, scores, labels)
    count = sum(len(image[0]) for image in one)
    if len(one) != len(other):
        return TaskValue(boxes, 0.0, covered, count)
    found = [_paired(a, b) for a, b in zip(one, other, strict=True)]
    total = sum(max(len(a[0]), len(b[0])) for a, b in zip(one, other, strict=True))
    return TaskValue(boxes, sum(found) / total if total else 1.0, covered, count)


def detections(outputs: Arrays) -> tuple[str, str, str]:
    """Which outputs are the boxes ``[..., n, 4]``, and their scores and classes ``[..., n]``, where there are any.

    Raises:
        SpecError: there are no boxes.
    """
    boxes = [name for name, array in outputs.items() if _are_boxes(array)]
    boxes.sort(key=lambda name: "box" not in name.lower())
    if not boxes:
        shown = ", ".join(f"{name} {array.dtype.name}{list(array.shape)}" for name, array in outputs.items())
        raise SpecError(f"metrics: 'iou' needs an output of boxes, float [n, 4] or [batch, n, 4]; there are: {shown}")
    shape = outputs[boxes[0]].shape[:-1]
    beside = [name for name, array in outputs.items() if name != boxes[0] and array.shape == shape]
    scores = [name for name in beside if outputs[name].dtype.kind == "f"]
    labels = [name for name in beside if outputs[name].dtype.kind in "iu"]
    scores.sort(key=lambda name: "score" not in name.lower() and "conf" not in name.lower())
    return boxes[0], next(iter(scores), ""), next(iter(labels), "")


def _are_boxes(array: np.ndarray) -> bool:
    return array.dtype.kind == "f" and array.shape[-1:] == (4,) and array.ndim in (2, 3)


Image = tuple[np.ndarray, np.ndarray, np.ndarray]


def _of_images(outputs: Arrays, boxes: str, scores: str, labels: str) -> list[Image]:
    """Boxes, scores and classes of every image."""
    box = outputs[boxes].astype(np.float64)
    count = box.shape[:-1]
    score = outputs[scores].astype(np.float64) if scores and outputs[scores].shape == count else np.ones(count)
    label = outputs[labels].astype(np.int64) if labels and outputs[labels].shape == count else np.zeros(count, np.int64)
    return [(box, score, label)] if box.ndim == 2 else list(zip(box, score, label, strict=True))


def _paired(one: Image, other: Image) -> float:
    """Sum of the overlaps of pairs of one class and score, the most confident first."""
    boxes, scores, labels = one
    overlap = overlaps(boxes, other[0])
    overlap = np.where(labels[:, None] == other[2][None], overlap, 0.0)
    overlap = np.where(np.abs(scores[:, None] - other[1][None]) <= SCORE_TOLERANCE, overlap, 0.0)
    total = 0.0
    for row in np.argsort(-scores, kind="stable") if overlap.size else ():
        best = int(overlap[row].argmax())
        total += float(overlap[row, best])
        if overlap[row, best] > 0:
            overlap[:, best] = 0.0
    return total


def overlaps(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Intersection over union of every box of one list with every box of another; corners ``x1, y1, x2, y2``.

    Equal boxes overlap fully, also where they have no area, or are written another way (centre and size).
    """
    a, b = one[:, None, :], other[None, :, :]
    with np.errstate(invalid="ignore"):
        low, high = np.maximum(a[..., :2], b[..., :2]), np.minimum(a[..., 2:], b[..., 2:])
        shared = np.prod(np.clip(high - low, 0, None), axis=-1)
        areas = [np.prod(np.clip(box[..., 2:] - box[..., :2], 0, None), axis=-1) for box in (a, b)]
        union = areas[0] + areas[1] - shared
        found = np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)
        equal = (np.abs(a - b) <= 1e-6 * (1 + np.abs(a))).all(axis=-1)
    return np.asarray(np.where(equal, 1.0, np.nan_to_num(found)))


def _tokens(expected: Arrays, actual: Arrays) -> TaskValue:
    """Share of the places at which the integer sequences agree; of a longer one, the places beyond count as wrong."""
    names = tuple(name for name, array in expected.items() if array.dtype.kind in "iu" and array.ndim)
    if not names:
        raise SpecError(f"metrics: 'tokens' needs an output of integers; there are: {', '.join(expected)}")
    count = sum(expected[name].size for name in names)
    worst = TaskValue(names[0], 1.0, names, count)
    for name in names:
        value = _alike(expected[name], actual[name]) if name in actual else 0.0
        if value < worst.value:
            worst = TaskValue(name, value, names, count)
    return worst


def _alike(expected: np.ndarray, actual: np.ndarray) -> float:
    if actual.shape[:-1] != expected.shape[:-1] or actual.dtype.kind not in "iu":
        return 0.0
    common = min(expected.shape[-1], actual.shape[-1])
    rows = int(np.prod(expected.shape[:-1]))
    total = rows * max(expected.shape[-1], actual.shape[-1])
    equal = np.count_nonzero(expected[..., :common] == actual[..., :common])
    return equal / total if total else 1.0
