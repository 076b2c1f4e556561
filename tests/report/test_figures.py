"""Figures read and written."""

from __future__ import annotations

import enum
import json
import math
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_onnxprep.report.figures import budget, human, middle, number, one_line, plain


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "-"),
        (0.0, "0"),
        (-0.0, "0"),
        (4.1234, "4.12"),
        (15.0, "15"),
        (0.0151, "0.015"),
        (0.1, "0.1"),
        (0.05, "0.05"),
        (0.02, "0.02"),
        (0.001, "0.001"),
        (0.00099951, "0.001"),
        (1.24e-6, "1.2e-06"),
        (-1.24e-6, "-1.2e-06"),
        (152, "152"),
        (999.4, "999"),
        (999.7, "1000"),
        (1204.6, "1205"),
        (1234567, "1.2e+06"),
        (float("inf"), "inf"),
        (float("-inf"), "-inf"),
        (float("nan"), "nan"),
    ],
)
def test_human(value: float | None, text: str) -> None:
    """Figures show three digits at most and no more room than they need."""
    assert human(value) == text


@given(st.floats(-1e300, 1e300) | st.sampled_from([math.inf, math.nan]))
def test_human_is_short_and_true(value: float) -> None:
    """Any float takes at most nine characters and reads back within rounding."""
    text = human(value)

    assert len(text) <= 9
    if math.isfinite(value):
        assert math.isclose(float(text), value, rel_tol=0.06, abs_tol=0.0005 if abs(value) >= 0.00099 else 0)


@pytest.mark.parametrize(
    ("value", "text"), [(15.0, "15"), (1e-4, "1e-4"), (0.0, "0"), (1.5e-5, "1.5e-5"), (0.5, "0.5"), (2e9, "2e9")]
)
def test_budget(value: float, text: str) -> None:
    """Limits look as their authors wrote them."""
    assert budget(value) == text


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (3, 3.0),
        (np.float32(0.5), 0.5),
        ("inf", math.inf),
        ("-inf", -math.inf),
        ("nan", math.nan),
        ("12", None),
        ("fast", None),
        (None, None),
        (True, None),
        ([1], None),
        ({}, None),
        (10**400, None),
    ],
)
def test_number(value: object, expected: float | None) -> None:
    """What is no figure is no figure; non-finite ones are read back from JSON's strings."""
    assert number(value) == pytest.approx(expected, nan_ok=True) if expected is not None else number(value) is None


@given(st.text(max_size=60), st.integers(0, 40))
def test_middle(text: str, width: int) -> None:
    """Cutting keeps to the width, and to both ends of the text."""
    cut = middle(text, width)

    assert len(cut) <= width or cut == text
    if len(text) > width > 6:
        assert ".." in cut
        assert (cut[:2], cut[-2:]) == (text[:2], text[-2:])


def test_one_line() -> None:
    """Line breaks and tabs become single spaces."""
    assert one_line(" a\n\n b\t c ") == "a b c"


class Colour(enum.Enum):
    RED = "red"


class Name(str):
    __slots__ = ()


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (np.float32(0.5), 0.5),
        (np.int64(3), 3),
        (np.bool_(True), True),
        (np.float64(1.5), 1.5),
        (np.arange(3), [0, 1, 2]),
        (np.array(2.0), 2.0),
        (np.str_("x"), "x"),
        ((1, (2, 3)), [1, [2, 3]]),
        ({"b", "a"}, ["a", "b"]),
        (OrderedDict([(1, np.float32(2))]), {"1": 2.0}),
        (Path("a/b"), "a/b"),
        (Colour.RED, "red"),
        (Name("n"), "n"),
        (None, None),
        (object, "<class 'object'>"),
    ],
)
def test_plain(value: object, expected: object) -> None:
    """Everything a check may put into its figures becomes JSON."""
    converted = plain(value)

    assert converted == expected
    assert type(converted) is type(expected)
    assert json.loads(json.dumps(converted)) == expected


@pytest.mark.parametrize("make", [float, np.float32, np.float16])
def test_plain_non_finite(make: type) -> None:
    """Non-finite figures are null, or strings where nothing may be lost."""
    values = [make("inf"), make("-inf"), make("nan")]

    assert plain(values) == [None, None, None]
    assert plain(values, lossless=True) == ["inf", "-inf", "nan"]


def test_plain_of_narrow_floats() -> None:
    """Scalars of dtypes numpy does not have itself are numbers too."""
    ml_dtypes = pytest.importorskip("ml_dtypes")

    assert plain(ml_dtypes.bfloat16(0.5)) == 0.5
