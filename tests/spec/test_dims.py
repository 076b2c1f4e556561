"""Named dims and their ranges."""

from __future__ import annotations

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from pytest_onnxprep.spec.dims import Dim, parse_dim_ranges
from pytest_onnxprep.spec.errors import SpecError


@given(low=st.integers(0, 300), span=st.integers(0, 300), step=st.integers(1, 40))
def test_ends_are_sizes(low: int, span: int, step: int) -> None:
    """The smallest and largest size are multiples within the range with none beyond them, and tracing uses a size."""
    inside = [size for size in range(low, low + span + 1) if size % step == 0]
    assume(inside)
    dim = Dim(low, low + span, multiple_of=step)

    assert (dim.smallest, dim.largest) == (inside[0], inside[-1])
    assert [size for size in range(low + span + 50) if size in dim] == inside
    assert dim.trace_size in dim


@pytest.mark.parametrize(
    ("dim", "size"),
    [
        (Dim(1, 8), 2),
        (Dim(0, 8), 2),
        (Dim(1, 1), 1),
        (Dim(0, 0), 0),
        (Dim(5, 9), 5),
        (Dim(64, 256, multiple_of=32), 64),
        (Dim(1, 64, multiple_of=32), 32),
        (Dim(0, 2, multiple_of=3), 0),
        (Dim(1, 8, example=7), 7),
    ],
)
def test_trace_size(dim: Dim, size: int) -> None:
    """Exporters trace with the example, else a small size that is neither 0 nor 1 where there is one."""
    assert dim.trace_size == size


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Dim(3, 2), "range 3..2 is empty"),
        (lambda: Dim(-1, 2), "empty or negative"),
        (lambda: Dim(1, 8, multiple_of=0), "multiple_of must be at least 1"),
        (lambda: Dim(33, 63, multiple_of=32), "no multiple of 32 lies in 33..63"),
        (lambda: Dim(1, 8, example=9), "example 9 is not one of its sizes"),
        (lambda: Dim(32, 64, multiple_of=32, example=40), "multiples of 32"),
        (lambda: Dim(1.5, 8), "Dim min must be an integer, not 1.5"),  # type: ignore[arg-type]
        (lambda: Dim(1, "8"), "Dim max must be an integer, not '8'"),  # type: ignore[arg-type]
        (lambda: Dim(True, 8), "Dim min must be an integer, not True"),
        (lambda: Dim(1, 8, multiple_of=None), "Dim multiple_of must be an integer"),  # type: ignore[arg-type]
    ],
)
def test_bad_dim(make: object, message: str) -> None:
    """A range that holds no size, or what is no integer, is refused at once."""
    with pytest.raises(SpecError, match=message):
        make()  # type: ignore[operator]


def test_text() -> None:
    """A dim describes itself as messages show it."""
    assert str(Dim(1, 8)) == "1..8"
    assert str(Dim(64, 256, multiple_of=32)) == "64..256, multiples of 32"


def test_parse_ranges() -> None:
    """Pairs, lists and `Dim` objects are all ranges; nothing at all is no ranges."""
    dim = Dim(2, 4, example=3)

    assert parse_dim_ranges({"a": (1, 8), "b": [0, 3], "c": dim}) == {"a": Dim(1, 8), "b": Dim(0, 3), "c": dim}
    assert parse_dim_ranges(None) == {}


@pytest.mark.parametrize(
    ("dims", "message"),
    [
        ([("a", (1, 8))], "dims must map names to ranges"),
        ({"a b": (1, 8)}, "'a b' is not a dim name"),
        ({3: (1, 8)}, "3 is not a dim name"),
        ({"a": 8}, r"dims\['a'\]: 8 is not a range; accepted: \(min, max\) or Dim\("),
        ({"a": (1, 2, 3)}, r"dims\['a'\]"),
        ({"a": (8, 1)}, r"dims\['a'\]: Dim range 8..1 is empty"),
    ],
)
def test_bad_ranges(dims: object, message: str) -> None:
    """A bad entry is named together with what is accepted."""
    with pytest.raises(SpecError, match=message):
        parse_dim_ranges(dims)
