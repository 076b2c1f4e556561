"""The shape language: what it reads, what it writes back and what it refuses."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_onnxprep.spec.errors import SpecError
from pytest_onnxprep.spec.shape import (
    DTYPES,
    DimExpr,
    Node,
    TensorType,
    check_dtype,
    parse_dim,
    parse_dims,
    parse_tensor,
)

NAMES = ("batch", "h", "w", "past", "_seq2")

nodes: st.SearchStrategy[Node] = st.recursive(
    st.one_of(st.integers(0, 64), st.sampled_from(NAMES)),
    lambda inner: st.tuples(st.sampled_from(("+", "-", "*", "//", "%")), inner, inner),
    max_leaves=12,
)
sizes = st.fixed_dictionaries({name: st.integers(0, 40) for name in NAMES})


def value(dim: DimExpr, at: dict[str, int]) -> int | str:
    """The size, or the word for a division by zero."""
    try:
        return dim.evaluate(at)
    except SpecError as error:
        return "division by zero" if "division by zero" in str(error) else f"unexpected: {error}"


@given(node=nodes, at=sizes)
def test_expression_survives_text(node: Node, at: dict[str, int]) -> None:
    """Any expression written out and read back is the same expression with the same value."""
    dim = DimExpr(node)
    again = parse_dim(str(dim))

    assert again == dim
    assert value(again, at) == value(dim, at)
    assert again.names == dim.names


@given(node=nodes, at=sizes)
def test_expression_means_what_python_means(node: Node, at: dict[str, int]) -> None:
    """The text of an expression has the value Python gives to the same text."""
    text = str(DimExpr(node))
    try:
        expected: int | str = eval(text, {"__builtins__": {}}, dict(at))
    except ZeroDivisionError:
        expected = "division by zero"

    assert value(parse_dim(text), at) == expected


@given(node=nodes)
def test_white_space_is_free(node: Node) -> None:
    """Blanks between tokens change nothing."""
    text = str(DimExpr(node))

    assert parse_dim(text.replace(" ", "")) == parse_dim(f"  {text.replace(' ', '   ')}  ")


@given(dtype=st.sampled_from(DTYPES), dims=st.lists(nodes, max_size=5))
def test_tensor_survives_text(dtype: str, dims: list[Node]) -> None:
    """A whole tensor type reads back as itself."""
    tensor = TensorType(dtype, tuple(map(DimExpr, dims)))

    assert parse_tensor(str(tensor)) == tensor


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1 + 2 * 3", 7),
        ("(1 + 2) * 3", 9),
        ("10 - 4 - 3", 3),
        ("10 - (4 - 3)", 9),
        ("2 * 7 // 4", 3),
        ("2 * (7 // 4)", 2),
        ("17 % 10 * 2", 14),
        ("((3))", 3),
        ("h // 4 + 1", 8),
        ("(h - 3) // 2 + 1", 13),
    ],
)
def test_precedence(text: str, expected: int) -> None:
    """Products bind tighter than sums and both associate to the left."""
    assert parse_dim(text).evaluate({"h": 28}) == expected


@pytest.mark.parametrize(
    "text", ["a - b - c", "a - (b - c)", "(a + b) * c", "a + b * c", "a // (b * c)", "a * (b % c)", "a * b % c"]
)
def test_only_needed_parentheses_are_written(text: str) -> None:
    """Text that has no needless parentheses is written back unchanged."""
    assert str(parse_dim(text)) == text


def test_names_and_static() -> None:
    """Names are listed in order of appearance, each once; a constant has none and is static."""
    dim = parse_dim("w + h * (w - batch)")

    assert dim.names == ("w", "h", "batch")
    assert not dim.is_static
    assert parse_dim("2 * 8").is_static


@pytest.mark.parametrize("text", ["", "[]", "  ", "[ ]"])
def test_no_dims(text: str) -> None:
    """Nothing between the brackets, or nothing at all, is a scalar's shape."""
    assert parse_dims(text) == ()


def test_scalar() -> None:
    """``float32[]`` has no dims."""
    assert parse_tensor("float32[]") == TensorType("float32", ())


@pytest.mark.parametrize(
    ("text", "column", "message"),
    [
        ("float32[batch, ?]", 16, "'?' is not accepted: give a dynamic dim a name"),
        ("float32[:, 3]", 9, "':' is not accepted"),
        ("float32[..., 3]", 9, "'...' is not accepted: give every dim"),
        ("float32[h / 2]", 11, "'/' is not accepted: use '//'"),
        ("float32[h @ 2]", 11, "'@' is not part of the shape language"),
        ("float32[batch, 3", 17, "expected ',' or ']' after a dim, found the end"),
        ("float32[batch 3]", 15, "expected ',' or ']' after a dim, found '3'"),
        ("float32[batch,]", 15, "expected a dim (an integer, a name, or an expression"),
        ("float32[,3]", 9, "expected a dim"),
        ("float32[a + ]", 13, "expected a dim"),
        ("float32[-1]", 9, "expected a dim"),
        ("float32[(a + 1]", 15, "expected ')', found ']'"),
        ("float32[3] x", 12, "nothing may follow here, found 'x'"),
        ("float32[3]]", 11, "nothing may follow here"),
        ("float32", 8, "expected the dims in brackets"),
        ("float32(3)", 8, "expected the dims in brackets"),
        ("[3]", 1, "expected a dtype first"),
        ("", 1, "expected a dtype first"),
        ("flaot32[3]", 1, "unknown dtype 'flaot32'; did you mean 'float32'?"),
        ("  complex128[3]", 3, "unknown dtype 'complex128'"),
    ],
)
def test_error_says_where_and_what(text: str, column: int, message: str) -> None:
    """A malformed shape names the 1-based column, says what is accepted there and points at it."""
    with pytest.raises(SpecError) as caught:
        parse_tensor(text)
    first, quoted, pointer = str(caught.value).split("\n")

    assert first.startswith(f"malformed shape, column {column}: ")
    assert message in first
    assert quoted == f"    {text}"
    assert pointer == f"{' ' * (3 + column)}^"


@given(text=st.text(alphabet="float32[]()+-*/%, ab1?.:\t", max_size=24))
def test_any_text_parses_or_is_refused(text: str) -> None:
    """No text whatever raises anything but `SpecError`, and its column lies within the text or just behind it."""
    try:
        parse_tensor(text)
    except SpecError as error:
        column = int(str(error).split("column ")[1].split(":")[0])

        assert 1 <= column <= len(text) + 1


@pytest.mark.parametrize("value", [None, 3, ("batch", 3)])
def test_not_text(value: object) -> None:
    """Something that is no string is refused by its type."""
    with pytest.raises(SpecError, match=f"not {type(value).__name__}"):
        parse_tensor(value)  # type: ignore[arg-type]


def test_missing_size() -> None:
    """Evaluating without a size for a name says which name and which sizes there are."""
    with pytest.raises(SpecError, match="no size for dim 'h'; sizes given: batch, w"):
        parse_dim("h // 4").evaluate({"batch": 1, "w": 2})


def test_division_by_zero() -> None:
    """Dividing by a dim that is zero names the expression and the sizes."""
    with pytest.raises(SpecError, match=r"division by zero in dim expression 'h // w' at \{'h': 4, 'w': 0\}"):
        parse_dim("h // w").evaluate({"h": 4, "w": 0})


@pytest.mark.parametrize(
    ("wrong", "suggestion"),
    [("flaot32", "float32"), ("float23", "float32"), ("int46", "int64"), ("bools", "bool"), ("bfloat", "bfloat16")],
)
def test_unknown_dtype_suggests(wrong: str, suggestion: str) -> None:
    """A misspelt dtype is answered with the nearest one and the whole list."""
    with pytest.raises(SpecError) as caught:
        check_dtype(wrong)

    assert f"did you mean '{suggestion}'?" in str(caught.value)
    assert all(dtype in str(caught.value) for dtype in DTYPES)


def test_unknown_dtype_without_neighbour() -> None:
    """A word that resembles no dtype gets the list alone."""
    with pytest.raises(SpecError, match=r"unknown dtype 'xyz'\. Accepted: float16"):
        check_dtype("xyz")
