"""The rule behind the failing sizes."""

from __future__ import annotations

import pytest

from pytest_onnxprep.checks.boundary import boundaries, describe
from pytest_onnxprep.fuzz.example import Maker
from pytest_onnxprep.spec.dims import Dim
from pytest_onnxprep.spec.signature import Signature
from pytest_onnxprep.spec.tensor import TensorSpec


@pytest.mark.parametrize(
    ("fails", "rule"),
    [
        (lambda h: h % 3 != 0, "every h not divisible by 3 (tried 1-20)"),
        (lambda h: h % 4 == 0, "every h divisible by 4 (tried 1-20)"),
        (lambda h: h % 2 == 1, "every odd h (tried 1-20)"),
        (lambda h: h % 2 == 0, "every even h (tried 1-20)"),
        (lambda h: h > 4, "every h from 5 on (tried 1-20)"),
        (lambda h: h < 4, "every h up to 3 (tried 1-20)"),
        (lambda h: h == 7, "only h = 7 (tried 1-20)"),
        (lambda h: h != 8, "every h but 8, the size it was exported with (tried 1-20)"),
        (lambda h: h != 5, "every h but 5 (tried 1-20)"),
        (lambda h: h != 6, "every h other than w (= 6) (tried 1-20)"),
        (lambda h: h in (2, 3, 11), "h = 2, 3, 11 (tried 1-20)"),
        (lambda h: True, ""),
        (lambda h: False, ""),
    ],
)
def test_rules(fails, rule):
    """The simplest rule that fits all sizes tried; none where size makes no difference."""
    assert describe("h", {size: fails(size) for size in range(1, 21)}, 8, {"w": 6}) == rule


def of(**dims):
    """A maker of one float input."""
    return Maker(Signature({"x": TensorSpec("float32", ", ".join(dims))}, None, dims))


def test_each_dim_alone():
    """Dims whose size makes no difference are not spoken of; refused sizes neither."""
    maker = of(h=Dim(1, 12), w=Dim(1, 12))

    def outcome(example):
        return None if example.sizes["h"] == 12 else example.sizes["h"] > 6

    assert boundaries(maker.plain({"h": 7, "w": 1}), outcome, maker) == ["every h from 7 on (tried 1-11)"]


def test_a_large_range_is_sampled():
    """Of a thousand sizes only a couple of dozen are run."""
    maker, seen = of(h=Dim(1, 1000)), []

    def outcome(example):
        seen.append(example.sizes["h"])
        return example.sizes["h"] > 64

    assert boundaries(maker.plain({"h": 65}), outcome, maker) == ["every h from 65 on (tried 1-1000)"]
    assert len(seen) < 25


def test_no_time_no_rule():
    """Nothing is said of dims that were not finished."""
    maker = of(h=Dim(1, 12))

    assert boundaries(maker.plain({"h": 7}), lambda example: False, maker, max_s=0) == []
