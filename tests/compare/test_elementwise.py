"""Comparing one output, held against a slow and obvious oracle."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from pytest_onnxprep.compare.elementwise import compare, finite_scale
from pytest_onnxprep.spec.tolerance import EPSILON, Tolerance

FLOATS = ("float16", "float32", "float64")
INTS = ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")
SHAPES = hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4)
TOLERANCES = st.sampled_from([0.0, 1e-7, 1e-3, 0.5, 2.0])


@st.composite
def pairs(draw, dtypes=FLOATS, special=True):
    """Two arrays of one dtype and shape, mostly alike."""
    dtype = np.dtype(draw(st.sampled_from(dtypes)))
    shape = draw(SHAPES)
    width = dtype.itemsize * 8
    elements = st.floats(-100, 100, width=width)
    if special:
        elements |= st.sampled_from([0.0, -0.0, math.nan, math.inf, -math.inf])
    expected = draw(hnp.arrays(dtype, shape, elements=elements))
    actual = expected.copy()
    for index in draw(st.lists(st.integers(0, max(expected.size - 1, 0)), max_size=3)):
        if expected.size:
            actual.flat[index] = draw(elements)
    return expected, actual


def agrees(want: float, got: float, atol: float, rtol: float) -> bool:
    """The rule in words: NaN with NaN, infinities by sign, numbers within tolerance."""
    if math.isnan(want) or math.isnan(got):
        return math.isnan(want) and math.isnan(got)
    if math.isinf(want) or math.isinf(got):
        return want == got
    return abs(got - want) <= atol + rtol * abs(want)


@settings(max_examples=400, deadline=None)
@given(pair=pairs(), atol=TOLERANCES, rtol=TOLERANCES)
@example(pair=(np.float32([1, math.nan]), np.float32([1, 1])), atol=2.0, rtol=0.5)
@example(pair=(np.float32([math.inf]), np.float32([-math.inf])), atol=2.0, rtol=2.0)
def test_floats_agree_with_the_oracle(pair, atol, rtol):
    """Match, number of wrong elements and place are those of a loop over Python floats."""
    expected, actual = pair
    found = compare("y", expected, actual, Tolerance(atol, rtol))
    good = [agrees(float(w), float(g), atol, rtol) for w, g in zip(expected.flat, actual.flat, strict=True)]

    assert found.matches == all(good)
    if not found.matches:
        assert (found.wrong, found.total) == (good.count(False), len(good))
        assert not good[int(np.ravel_multi_index(found.index, expected.shape)) if expected.ndim else 0]


@settings(max_examples=200, deadline=None)
@given(pair=pairs(special=False), atol=TOLERANCES, rtol=TOLERANCES)
def test_the_largest_error_is_the_largest(pair, atol, rtol):
    """max_abs is the maximum over all elements, of a match and of a miss."""
    expected, actual = pair
    found = compare("y", expected, actual, Tolerance(atol, rtol))
    errors = [abs(float(g) - float(w)) for w, g in zip(expected.flat, actual.flat, strict=True)]

    # a match is told from the arrays' own width, so its figure may carry that width's rounding
    assert found.max_abs == pytest.approx(max(errors, default=0.0), rel=2 * EPSILON[expected.dtype.name])


@settings(max_examples=200, deadline=None)
@given(pair=pairs(("float32", "float64"), special=False), rtol=TOLERANCES, atol=TOLERANCES)
def test_the_tightest_tolerances_pass_and_less_fails(pair, atol, rtol):
    """With the tightest atol, or the tightest rtol, the arrays match; with one per mille less they do not."""
    expected, actual = pair
    found = compare("y", expected, actual, Tolerance(atol, rtol))
    if found.matches:
        return
    up, down = 1 + 1e-9, 1 - 1e-3

    assert compare("y", expected, actual, Tolerance(found.tightest_atol * up, rtol)).matches
    assert not compare("y", expected, actual, Tolerance(found.tightest_atol * down, rtol)).matches
    if found.tightest_rtol is not None:
        assert compare("y", expected, actual, Tolerance(atol, found.tightest_rtol * up)).matches
        assert not compare("y", expected, actual, Tolerance(atol, found.tightest_rtol * down)).matches


def test_no_rtol_mends_an_error_at_zero():
    """Where the reference is 0 the relative tolerance has nothing to grow with."""
    found = compare("y", np.float32([0, 1]), np.float32([0.5, 1]), Tolerance(0.1, 0.1))

    assert (found.tightest_rtol, found.tightest_atol) == (None, 0.5)


def test_no_tolerance_mends_a_nan():
    """NaN in one of the two has no tightest tolerance, and is shown before any other element."""
    found = compare("y", np.float32([0, 1, 2]), np.float32([9, math.nan, 2]), Tolerance(1, 1))

    assert (found.kind, found.index, found.tightest_atol, found.tightest_rtol) == ("nan", (1,), None, None)
    assert found.what == "is NaN where the framework has 1"
    assert found.wrong == 2


@settings(max_examples=300, deadline=None)
@given(data=st.data(), dtype=st.sampled_from([*INTS, "bool"]))
def test_integers_and_booleans_are_exact(data, dtype):
    """One in the last place of a uint64 is a difference, whatever the tolerance."""
    elements = hnp.from_dtype(np.dtype(dtype))
    expected = data.draw(hnp.arrays(dtype, hnp.array_shapes(max_dims=2, max_side=4), elements=elements))
    actual = expected.copy()
    for index in data.draw(st.lists(st.integers(0, expected.size - 1), max_size=2)):
        actual.flat[index] = data.draw(elements)
    found = compare("y", expected, actual, Tolerance(1e30, 1e30))
    wrong = [i for i in np.ndindex(expected.shape) if int(expected[i]) != int(actual[i])]

    assert found.matches == (not wrong)
    assert found.wrong == len(wrong)
    if wrong:
        assert found.index in wrong
        assert (found.expected, found.actual) == (expected[found.index].item(), actual[found.index].item())


def test_the_error_of_huge_integers_does_not_wrap():
    """0 against 2**64 - 1 is no difference of 1."""
    found = compare("y", np.array([0], "uint64"), np.array([2**64 - 1], "uint64"), Tolerance())

    assert found.max_abs == float(2**64 - 1)


def test_neighbouring_huge_integers_differ():
    """float64 cannot tell 2**63 and 2**63 + 1 apart; the comparison can."""
    found = compare("y", np.array([2**63], "uint64"), np.array([2**63 + 1], "uint64"), Tolerance())

    assert (found.kind, found.max_abs, found.index) == ("values", 1.0, (0,))


@pytest.mark.parametrize("dtype", [*FLOATS, *INTS, "bool"])
def test_nothing_equals_nothing(dtype):
    """Empty arrays of one shape match; of another shape they do not."""
    empty = np.zeros((0, 3), dtype)

    assert compare("y", empty, empty.copy(), Tolerance()).matches
    assert compare("y", empty, np.zeros((0, 4), dtype), Tolerance()).kind == "shape"


@pytest.mark.parametrize("dtype", [*FLOATS, "int64"])
def test_a_lone_number(dtype):
    """0-d arrays are compared, and their index is empty."""
    found = compare("y", np.array(1, dtype), np.array(3, dtype), Tolerance(0.1))

    assert (found.matches, found.index, found.max_abs) == (False, (), 2.0)
    assert compare("y", np.array(1, dtype), np.array(1, dtype), Tolerance(0.1)).matches


def test_shapes_are_not_broadcast():
    """(3,) is not (1, 3), though every element is equal."""
    found = compare("y", np.ones(3, "f"), np.ones((1, 3), "f"), Tolerance(9, 9))

    assert (found.kind, found.what) == ("shape", "shape is [1, 3], the framework's is [3]")


def test_dtypes_are_exact():
    """Equal numbers of another width are a difference."""
    found = compare("y", np.ones(3, "f4"), np.ones(3, "f8"), Tolerance(9, 9))

    assert (found.kind, found.what) == ("dtype", "dtype is float64, the framework's is float32")


def test_strings_match_whether_bytes_or_text():
    """TensorFlow returns bytes, ONNX Runtime text."""
    expected = np.array([b"edge", "grüße".encode()], object)
    actual = np.array(["edge", "grüße"], object)

    assert compare("y", expected, actual, Tolerance()).matches


def test_other_strings_differ():
    """The first string that differs is shown."""
    found = compare("y", np.array(["a", "b"], object), np.array(["a", "c"], object), Tolerance())

    assert (found.kind, found.index, found.expected, found.actual) == ("values", (1,), "b", "c")


def test_signed_zeros_agree():
    """-0.0 is 0.0."""
    assert compare("y", np.float32([0.0]), np.float32([-0.0]), Tolerance(0.0, 0.0)).matches


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
def test_a_derived_tolerance_is_tight_and_quiet(dtype, scale):
    """Without numbers, a few roundings pass and one per cent fails, at every width and scale."""
    rng = np.random.default_rng(0)
    expected = (rng.standard_normal((8, 8)) * scale).astype(dtype)
    rounded = (expected.astype("f8") * (1 + 4 * EPSILON[dtype])).astype(dtype)
    wrong = expected.copy()
    wrong.flat[np.abs(expected).argmax()] *= 1.5

    assert compare("y", expected, rounded, Tolerance()).matches
    assert not compare("y", expected, wrong, Tolerance()).matches


def test_bfloat16_is_a_float():
    """bfloat16 is compared by tolerance, not by bits."""
    ml_dtypes = pytest.importorskip("ml_dtypes")
    one, near = (np.array([x], ml_dtypes.bfloat16) for x in (1.0, 1.0078125))

    assert compare("y", one, near, Tolerance(0.01)).matches
    assert not compare("y", one, near, Tolerance(0.001)).matches


@given(hnp.arrays("float32", SHAPES, elements=st.floats(-1e6, 1e6, width=32) | st.sampled_from([math.nan, math.inf])))
def test_finite_scale(array):
    """The largest finite magnitude, 0 without one."""
    assert finite_scale(array) == max((abs(float(x)) for x in array.flat if math.isfinite(x)), default=0.0)
