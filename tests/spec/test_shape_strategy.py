"""Fixed sizes are put into a signature dim by dim."""

from __future__ import annotations

import pytest

from pytest_onnxprep.spec.dims import Dim
from pytest_onnxprep.spec.errors import SpecError
from pytest_onnxprep.spec.shape_strategy import at_sizes, read_strategy
from pytest_onnxprep.spec.signature import Signature
from pytest_onnxprep.spec.tensor import TensorSpec

SIGNATURE = Signature(
    {"ids": TensorSpec("int64", "batch, seq"), "mask": TensorSpec("int64", "batch, past + seq")},
    {"logits": TensorSpec("float32", "batch, seq // 2")},
    {"batch": Dim(1, 4), "seq": Dim(2, 16), "past": Dim(0, 8)},
)


def test_some_dims_become_numbers_and_others_stay():
    """Expressions are worked out as far as they can be."""
    fixed = at_sizes(SIGNATURE, {"batch": 2, "seq": 8})

    assert str(fixed.inputs["ids"]) == "int64[2, 8]"
    assert str(fixed.inputs["mask"]) == "int64[2, past + 8]"
    assert str(fixed.outputs["logits"]) == "float32[2, 4]"
    assert list(fixed.dims) == ["past"]


def test_a_generate_is_still_told_the_sizes():
    """It gets dims of one size each."""
    made = Signature(SIGNATURE.inputs, None, SIGNATURE.dims, generate=lambda dims, rng: {})

    assert at_sizes(made, {"seq": 8}).dims["seq"] == Dim(8, 8)


def test_budgets_name_the_fixed_size_or_are_refused():
    """A file for one size cannot be timed at another."""
    fixed = at_sizes(SIGNATURE, {"batch": 2, "seq": 8})

    assert fixed.check_sizes({"seq": 8, "past": 3}, "at") == {"past": 3}
    with pytest.raises(SpecError, match="exported for seq=8 alone, not for 9"):
        fixed.check_sizes({"seq": 9}, "at")


@pytest.mark.parametrize(
    "buckets", [{"seq": 3}, [], [{}], [{"seq": 0}], [{"seq": True}], [{"seq": 3}, {"seq": 3}], "seq"]
)
def test_malformed_buckets_are_refused(buckets):
    """A list of different mappings of dims to sizes is needed."""
    with pytest.raises(SpecError, match="buckets"):
        read_strategy(None, buckets)


def test_shapes_and_buckets_exclude_each_other():
    """Both at once say two things."""
    with pytest.raises(SpecError, match="leave out shapes="):
        read_strategy("fixed", [{"seq": 3}])
