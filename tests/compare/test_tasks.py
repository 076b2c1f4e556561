"""Task metrics: what is found and what is said, whatever the order and the threshold."""

from __future__ import annotations

import numpy as np
import pytest

from pytest_onnxprep.compare.outputs import Rule, compare_outputs
from pytest_onnxprep.compare.tasks import detections, overlaps, task_value
from pytest_onnxprep.spec.errors import SpecError

BOXES = np.array([[0, 0, 10, 10], [20, 20, 30, 40], [5, 5, 9, 9]], "float32")
FOUND = {"boxes": BOXES, "scores": np.array([0.9, 0.8, 0.7], "float32"), "labels": np.array([1, 2, 1])}


def taken(order):
    """The detections in another order, or fewer of them."""
    return {name: array[order] for name, array in FOUND.items()}


def test_order_does_not_matter():
    """The same detections listed another way agree fully."""
    assert task_value("iou", FOUND, taken([2, 0, 1])).value == 1.0


def test_a_missing_and_an_extra_detection_count():
    """A detection without a partner is a miss on either side."""
    assert task_value("iou", FOUND, taken([0, 1])).value == pytest.approx(2 / 3)
    assert task_value("iou", taken([0, 1]), FOUND).value == pytest.approx(2 / 3)


def test_another_class_or_score_is_no_partner():
    """Boxes alone are not enough: the class and the confidence must be the same."""
    relabelled = {**FOUND, "labels": np.array([1, 2, 2])}
    rescored = {**FOUND, "scores": np.array([0.9, 0.6, 0.7], "float32")}

    assert task_value("iou", FOUND, relabelled).value == pytest.approx(2 / 3)
    assert task_value("iou", FOUND, rescored).value == pytest.approx(2 / 3)


def test_a_shifted_box_costs_its_overlap():
    """Moved by half its width, a box shares a third with itself."""
    moved = {**FOUND, "boxes": BOXES + np.array([[5, 0, 5, 0], [0, 0, 0, 0], [0, 0, 0, 0]], "float32")}

    assert task_value("iou", FOUND, moved).value == pytest.approx((1 / 3 + 2) / 3)


def test_batches_are_compared_picture_by_picture():
    """A detection in another picture is none."""
    batch = {name: np.stack([array, array[::-1]]) for name, array in FOUND.items()}
    swapped = {**batch, "boxes": np.stack([BOXES + 100, BOXES[::-1]])}

    assert task_value("iou", batch, batch).value == 1.0
    assert task_value("iou", batch, swapped).value == 0.5


def test_nothing_found_on_both_sides_agrees():
    """No detections are an answer, too."""
    assert task_value("iou", taken([]), taken([])).value == 1.0
    assert task_value("iou", FOUND, taken([])).value == 0.0


def test_outputs_are_recognised_by_shape_and_name():
    """Boxes end in four numbers; a class score of four numbers is none when another output is called boxes."""
    outputs = {"odds": np.zeros((3, 4), "float32"), **FOUND}

    assert detections(outputs) == ("boxes", "scores", "labels")
    with pytest.raises(SpecError, match="needs an output of boxes"):
        detections({"logits": np.zeros((3, 5), "float32")})


def test_empty_and_strange_boxes_equal_themselves():
    """Boxes without area, and centre-size boxes, overlap fully with themselves."""
    strange = np.array([[5, 5, 5, 5], [10, 10, 2, 3], [np.nan, 0, 1, 1]])

    assert np.diag(overlaps(strange, strange)).tolist() == [1.0, 1.0, 0.0]


def test_tokens_are_compared_place_by_place():
    """Places beyond the shorter sequence are wrong."""
    expected = {"tokens": np.array([[1, 2, 3, 4]])}

    assert task_value("tokens", expected, expected).value == 1.0
    assert task_value("tokens", expected, {"tokens": np.array([[1, 2, 9, 4]])}).value == 0.75
    assert task_value("tokens", expected, {"tokens": np.array([[1, 2]])}).value == 0.5


def test_a_task_metric_replaces_the_tensors_it_speaks_for():
    """Reordered detections pass under iou; an output beside them is still compared."""
    rule = Rule(minimums={"iou": 0.99})
    count = {"heat": np.ones((2, 2), "float32")}

    assert compare_outputs({**FOUND, **count}, {**taken([1, 0, 2]), **count}, rule).passed
    assert not compare_outputs({**FOUND, **count}, {**FOUND, "heat": np.zeros((2, 2), "float32")}, rule).passed
    missed = compare_outputs(FOUND, taken([0]), rule)
    assert [(miss.metric, miss.output) for miss in missed.misses] == [("iou", "boxes")]
