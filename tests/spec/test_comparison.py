"""``max_regression``, ``min_speedup`` and ``against`` as users write them."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_onnxprep.errors import SpecError
from pytest_onnxprep.spec.check_requests import read_latency
from pytest_onnxprep.spec.comparison import Comparison, read_comparisons, wrong_rival


@pytest.mark.parametrize("written", ["5%", "5 %", " 5.0% ", "0.05", 0.05])
def test_a_regression_is_a_share(written):
    """Per cent and fractions mean the same, against the baseline unless something else is named."""
    (found,) = read_comparisons(written, None, None)

    assert found == Comparison("max_regression", pytest.approx(0.05), "baseline")
    assert found.limit == pytest.approx(1.05)
    assert str(found) == "max_regression 5 %"


@pytest.mark.parametrize("written", [1.5, "1.5", "1.5x", "1.5 X"])
def test_a_speedup_is_a_factor(written):
    """So is the limit on the ratio of times, the other way round."""
    (found,) = read_comparisons(None, written, "framework")

    assert found == Comparison("min_speedup", 1.5, "framework")
    assert found.limit == pytest.approx(1 / 1.5)
    assert str(found) == "min_speedup 1.5"


def test_against_belongs_to_the_speedup():
    """With both, the regression is against the baseline; alone, it is against what is named."""
    both = read_comparisons("3%", 2, "framework")

    assert [(one.name, one.against) for one in both] == [("max_regression", "baseline"), ("min_speedup", "framework")]
    assert read_comparisons("3%", None, Path("released.onnx"))[0].against == "released.onnx"
    assert read_comparisons("3%", None, Path("released.onnx"))[0].is_file


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"max_regression": 5}, "would allow 500 % more; write '5%' or 0.05"),
        ({"max_regression": "five"}, "is no number; accepted: a share such as '5%' or 0.05"),
        ({"max_regression": "5x"}, "must be a share"),
        ({"max_regression": True}, "is no number"),
        ({"max_regression": float("nan")}, "is no number"),
        ({"max_regression": "0.1%"}, "at least 1 %"),
        ({"max_regression": "-5%"}, "at least 1 %"),
        ({"min_speedup": 1.5}, "min_speedup needs against='framework'"),
        ({"min_speedup": 0, "against": "framework"}, "must be positive"),
        ({"min_speedup": "50%", "against": "framework"}, "'50 % faster' is 1.5"),
        ({"against": "framework", "p95_ms": 3}, "says what to compare with; give min_speedup=1.5"),
        ({"min_speedup": 2, "against": 3}, "against must be 'framework'"),
        ({"min_speedup": 2, "against": " "}, "against must be 'framework'"),
        ({}, "max_regression ('5%'), min_speedup with against"),
    ],
)
def test_wrong_arguments_say_what_is_accepted(arguments, said):
    """The message names the argument and a spelling that works."""
    with pytest.raises(SpecError) as error:
        read_latency(**arguments)

    assert said in str(error.value)


def test_the_time_of_a_comparison_is_its_own_unless_given():
    """Absolute budgets get three seconds by default, comparisons choose for themselves; a given time holds for both."""
    assert read_latency(max_regression="5%").duet_time_s is None
    assert read_latency(max_regression="5%", max_time_s=2).duet_time_s == 2


def test_unknown_variants_are_told_with_the_known_ones():
    """A typing error in ``against`` gets a suggestion; files and the two words are always fine."""
    wrong = read_comparisons(None, 2, "torchscript-opset71")
    for fine in ("framework", "baseline", "old/Net.ONNX", "torchscript-opset17"):
        assert wrong_rival(read_comparisons(None, 2, fine), ["torchscript-opset17"]) == ""

    text = wrong_rival(wrong, ["torchscript-opset17", "dynamo-opset20"])
    assert "did you mean 'torchscript-opset17'" in text
    assert "framework, baseline, torchscript-opset17, dynamo-opset20, the path of an .onnx file" in text
