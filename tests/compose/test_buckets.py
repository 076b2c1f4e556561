"""Padding goes behind, with what means nothing, and is cut off again."""

from __future__ import annotations

import numpy as np
import pytest

from pytest_onnxprep.compose.buckets import Buckets
from pytest_onnxprep.errors import ReferenceRefused
from pytest_onnxprep.spec.dims import Dim
from pytest_onnxprep.spec.shape import parse_dims
from pytest_onnxprep.spec.signature import Signature
from pytest_onnxprep.spec.tensor import TensorSpec

SIGNATURE = Signature(
    {
        "ids": TensorSpec("int64", "batch, seq", low=5, high=9),
        "mask": TensorSpec("bool", "batch, past + seq"),
        "scale": TensorSpec("float32", "batch", low=-3, high=-1),
        "word": TensorSpec("string", "seq"),
    },
    dims={"batch": Dim(1, 4), "seq": Dim(1, 8), "past": Dim(0, 4)},
)
BUCKETS = Buckets(
    SIGNATURE,
    {"large": {"batch": 4, "seq": 8}, "small": {"batch": 2, "seq": 4}},
    {"y": parse_dims("batch, seq * 2"), "total": ()},
    source=None,
)
FEEDS = {
    "ids": np.full((1, 3), 7),
    "mask": np.ones((1, 5), bool),
    "scale": np.full(1, -2.0, "float32"),
    "word": np.array(["a", "b", "c"], object),
}


def test_the_smallest_bucket_that_holds_everything_is_taken():
    """Whatever the order in which they were listed."""
    assert BUCKETS.choose({"batch": 1, "seq": 4}) == "small"
    assert BUCKETS.choose({"batch": 3, "seq": 1}) == "large"
    with pytest.raises(ReferenceRefused, match="no bucket holds batch=1, seq=9; there are small, large"):
        BUCKETS.choose({"batch": 1, "seq": 9})


def test_padding_is_what_is_nearest_to_zero():
    """0 and False, or the end of the declared range; dims without a bucket stay as they are."""
    padded = BUCKETS.padded(FEEDS, {"batch": 1, "seq": 3, "past": 2}, {"batch": 2, "seq": 4})

    assert padded["ids"].tolist() == [[7, 7, 7, 5], [5, 5, 5, 5]]
    assert padded["mask"].tolist() == [[True] * 5 + [False], [False] * 6]
    assert padded["scale"].tolist() == [-2, -1]
    assert padded["word"].tolist() == ["a", "b", "c", ""]


def test_outputs_are_cut_to_the_sizes_that_were_asked():
    """Along the dims they declare."""
    asked = {}

    def run(name, feeds):
        asked[name] = {key: array.shape for key, array in feeds.items()}
        return {"y": np.arange(16.0).reshape(2, 8), "total": np.float32(3)}

    found = BUCKETS.answer(FEEDS, run)

    # `past` stands nowhere alone: it is what `past + seq` leaves.
    assert BUCKETS.sizes_of(FEEDS) == {"batch": 1, "seq": 3, "past": 2}
    assert asked == {"small": {"ids": (2, 4), "mask": (2, 6), "scale": (2,), "word": (4,)}}
    assert found["y"].tolist() == [[0, 1, 2, 3, 4, 5]]
    assert found["total"] == 3
