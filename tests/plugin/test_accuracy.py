"""``accuracy_budget``: the score of the ONNX model on the user's data, and its drop against the framework's."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from pytest_onnxprep import SpecError
from pytest_onnxprep.checks.accuracy import _NAMED
from pytest_onnxprep.spec.accuracy_request import read_accuracy

DATA = """
def feeds(count=40):
    return np.random.default_rng(0).standard_normal((count, 4)).astype("float32")

def labels_of(x):
    with torch.no_grad():
        return build()(torch.tensor(x)).argmax(-1).numpy()

def own_labels():
    for part in np.split(feeds(), 5):
        yield {"x": part}, labels_of(part)

def some_wrong():
    x = feeds()
    labels = labels_of(x)
    labels[:10] = (labels[:10] + 1) % 3
    yield {"x": x[:8]}, labels[:8]
    yield {"x": x[8:]}, labels[8:]

EXPORT = dict(inputs=X, dims={"batch": (1, 8)}, exporter="torchscript", opset=17)
"""


def test_a_model_is_held_to_its_score(story: Any) -> None:
    """By factory, file and metric of one's own; what is short of the minimum says by how much."""
    outcome = story(
        DATA
        + """
x = feeds()
np.savez("validation.npz", x=x, labels=labels_of(x))

@onnx_export(build, **EXPORT)
@accuracy_budget(minimum=1.0, dataset=own_labels, max_drop=0)
def test_factory(onnx_model):
    pass

@onnx_export(build, **EXPORT)
@accuracy_budget("f1", minimum=0.99, dataset="validation.npz")
def test_file(onnx_model):
    pass

@onnx_export(build, **EXPORT)
@accuracy_budget(lambda outputs, labels: float(outputs["output"].sum() / len(labels)), 0.99, own_labels)
def test_own(onnx_model):
    pass

@onnx_export(build, **EXPORT)
@accuracy_budget("top1", minimum=0.8, dataset=some_wrong, max_drop=0)
def test_short(onnx_model):
    pass
"""
    )

    found = {r["test"]: r for r in outcome.records.values() if r["check"] == "accuracy"}
    assert {name: record["verdict"] for name, record in found.items()} == {
        "test_factory": "pass",
        "test_file": "pass",
        "test_own": "pass",
        "test_short": "fail",
    }
    assert found["test_factory"]["summary"] == "top1 1, the framework's 1, on 40 samples"
    assert found["test_file"]["figures"]["budget"] == {"minimum": 0.99}
    assert found["test_short"]["summary"].startswith("top1 0.75 is 0.05 below the required 0.8")
    assert "AccuracyBudgetMissed" in outcome.text or "below the required" in outcome.text


def test_a_drop_against_the_framework_is_found(story: Any) -> None:
    """A file that is not the model scores worse on the model's own labels."""
    outcome = story(
        DATA
        + """
def build_other():
    torch.manual_seed(7)
    return build().__class__().eval()

@pytest.fixture
def other(onnx_exporter):
    return onnx_exporter(build_other, **EXPORT)

def test_write(other):
    pathlib.Path("other.onnx").write_bytes(other.path.read_bytes())

@onnx_export(build, inputs=X, dims={"batch": (1, 8)}, artifact="other.onnx")
@accuracy_budget("top1", dataset=own_labels, max_drop=0.01)
def test_drop(onnx_model):
    pass
"""
    )

    record = outcome.one("accuracy")
    assert record["verdict"] == "fail"
    assert "worse than the framework's, 0.01 is allowed" in record["summary"]
    assert record["figures"]["reference_score"] == 1
    assert record["figures"]["drop"] == pytest.approx(1 - record["figures"]["score"])


@pytest.mark.parametrize(
    ("dataset", "message"),
    [
        ('"gone.npz"', "dataset 'gone.npz' does not exist"),
        ("lambda: []", "the dataset is empty"),
        ("lambda: [1]", r"must give (feeds, labels) pairs"),
        ("lambda: 1 / 0", "raised ZeroDivisionError"),
        ('lambda: [({"y": feeds()}, 0)]', "gives y; needed: x"),
        ('lambda: [({"x": feeds().astype("f8")}, 0)]', "x is float64[40, 4], declared float32[batch, 4]"),
        ('lambda: [({"x": feeds()}, np.zeros(3, int))]', "there is not one label per row"),
    ],
)
def test_a_dataset_that_is_wrong_is_an_error(story: Any, dataset: str, message: str) -> None:
    """It is the test that is broken, not the model."""
    outcome = story(
        DATA
        + f"""
@onnx_export(build, **EXPORT)
@accuracy_budget(minimum=0.5, dataset={dataset})
def test_net(onnx_model):
    pass
"""
    )

    assert outcome.verdict("accuracy") == "error"
    assert message in outcome.one("accuracy")["summary"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"metric": "top-1"}, "unknown metric 'top-1'; did you mean 'top1'"),
        ({"metric": 3}, "metric must be one of"),
        ({"minimum": 1}, "dataset is missing"),
        ({"minimum": 1, "dataset": 3}, "dataset must be a factory"),
        ({"dataset": "a.npz"}, "no budget given"),
        ({"dataset": "a.npz", "minimum": True}, "minimum must be a finite number"),
        ({"dataset": "a.npz", "max_drop": -1}, "max_drop must be a number >= 0"),
    ],
)
def test_malformed_arguments(arguments: dict[str, Any], message: str) -> None:
    """Each says what is accepted."""
    with pytest.raises(SpecError, match=message):
        read_accuracy(**arguments)


def test_metrics_are_what_their_names_say() -> None:
    """Against figures worked out by hand."""
    scores = np.array([[0.1, 0.9, 0.0], [0.8, 0.1, 0.1], [0.2, 0.3, 0.5], [0.6, 0.4, 0.0]])
    labels = np.array([1, 0, 1, 1])

    assert _NAMED["top1"](scores, labels) == 0.5
    assert _NAMED["top5"](scores, labels) == 1
    # class 0: 1 hit of 2 chosen and 1 asked; class 1: 1 of 1 and 3; class 2: 0 of 1 and 0
    assert _NAMED["f1"](scores, labels) == pytest.approx((2 / 3 + 2 / 4 + 0) / 3)
    assert _NAMED["f1"](np.array([[0.9], [0.2]]), np.array([1, 1])) == pytest.approx((2 / 3 + 0) / 2)
    values, truth = np.array([[1.0], [4.0]]), np.array([2.0, 2.0])
    assert [_NAMED[name](values, truth) for name in ("mae", "mse")] == [1.5, 2.5]
    assert _NAMED["rmse"](values, truth) == pytest.approx(2.5**0.5)


def test_of_an_error_less_is_better(story: Any) -> None:
    """``minimum`` is then the largest that is good enough."""
    outcome = story(
        DATA
        + """
def probabilities():
    x = feeds(8)
    with torch.no_grad():
        yield {"x": x}, build()(torch.tensor(x)).numpy() + 0.25

@onnx_export(build, **EXPORT)
@accuracy_budget("mae", minimum=0.3, dataset=probabilities, max_drop=1e-3)
def test_good(onnx_model):
    pass

@onnx_export(build, **EXPORT)
@accuracy_budget("mae", minimum=0.2, dataset=probabilities)
def test_bad(onnx_model):
    pass
"""
    )

    found = {r["test"]: r for r in outcome.records.values() if r["check"] == "accuracy"}
    assert found["test_good"]["verdict"] == "pass"
    assert found["test_bad"]["summary"].startswith("mae 0.25 is 0.05 above the allowed 0.2")
