"""One input or output: dtype, shape and admissible values."""

from __future__ import annotations

import numpy as np
import pytest

from pytest_onnxprep.spec.errors import SpecError
from pytest_onnxprep.spec.shape import DimExpr, parse_dim
from pytest_onnxprep.spec.tensor import RECIPES, TensorSpec, parse_tensor_spec


def test_shape_as_text_and_as_tuple() -> None:
    """Text and a tuple of integers, names and expressions mean the same."""
    by_text = TensorSpec("float32", "batch, 3, h // 4")
    by_tuple = TensorSpec("float32", ("batch", 3, parse_dim("h // 4")))

    assert by_text == by_tuple
    assert by_text.names == ("batch", "h")
    assert by_text.concrete({"batch": 2, "h": 9}) == (2, 3, 2)
    assert str(by_text) == "float32[batch, 3, h // 4]"


def test_scalar_is_default() -> None:
    """A spec without a shape is a scalar."""
    assert TensorSpec("int64").concrete({}) == ()


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"dtype": "float31"}, "unknown dtype 'float31'; did you mean 'float32'"),
        ({"dtype": np.float32}, "dtype must be a string"),
        ({"shape": 3}, "shape must be text such as 'batch, 3' or a tuple of dims, not 3"),
        ({"shape": ("batch", -1)}, "dim -1 must be a non-negative integer"),
        ({"shape": ("batch", True)}, "dim True"),
        ({"shape": ("batch", None)}, "dim None"),
        ({"shape": "batch, ?"}, "give a dynamic dim a name"),
        ({"shape": ("batch, 3",)}, "nothing may follow here"),
        ({"low": "0"}, "low must be a number"),
        ({"high": True}, "high must be a number"),
        ({"low": 2.0, "high": 1.0}, "range 2.0..1.0 is empty; low <= high"),
        ({"dtype": "int64", "low": 3, "high": 3}, "range 3..3 is empty; low < high, high left out"),
        ({"dtype": "int64", "low": 3, "high": 3}, r"values=\[3\] for this one value"),
        ({"dtype": "int64", "values": [8, 1.5]}, "values: 1.5 is none; a list of int64 values is accepted"),
        ({"dtype": "bool", "values": [1]}, "values: 1 is none"),
        ({"values": [True]}, "values: True is none"),
        ({"values": []}, "values: there is none"),
        ({"values": "nromal"}, "unknown recipe 'nromal'; did you mean 'normal'"),
    ],
)
def test_bad_argument(kwargs: dict[str, object], message: str) -> None:
    """Every malformed argument is refused by name."""
    with pytest.raises(SpecError, match=message):
        TensorSpec(**{"dtype": "float32", **kwargs})  # type: ignore[arg-type]


def test_equal_bounds_of_a_float() -> None:
    """Float ranges include their upper end, so that a single value is a range."""
    assert TensorSpec("float32", "n", low=1.0, high=1.0).high == 1.0


@pytest.mark.parametrize("recipe", sorted(RECIPES))
def test_recipes_are_accepted(recipe: str) -> None:
    """Every recipe's name may be given as ``values``."""
    assert TensorSpec("float32", "n", values=recipe).values == recipe


def test_parse_text() -> None:
    """Text of ``inputs=`` becomes a spec with no bounds."""
    assert parse_tensor_spec("int64[batch, past + seq]") == TensorSpec("int64", ("batch", "past + seq"))


def test_parse_spec_is_itself() -> None:
    """A spec is taken as it is."""
    spec = TensorSpec("bool", "n")

    assert parse_tensor_spec(spec) is spec


def test_parse_float_example() -> None:
    """A float array gives a static shape without bounds and stays at hand as the example."""
    array = np.zeros((2, 3), np.float16)
    spec = parse_tensor_spec(array)

    assert (spec.dtype, spec.shape) == ("float16", (DimExpr(2), DimExpr(3)))
    assert (spec.low, spec.high) == (None, None)
    assert spec.example is array


def test_specs_of_examples_compare() -> None:
    """Specs read from equal-shaped arrays are equal and hashable, though arrays are neither."""
    one, other = parse_tensor_spec(np.zeros((2, 3))), parse_tensor_spec(np.ones((2, 3)))

    assert one == other
    assert len({one, other}) == 1


def test_parse_integer_example() -> None:
    """Integers of an example bound the values drawn, as they are mostly indices."""
    spec = parse_tensor_spec(np.array([[3, 17]], np.int32))

    assert (spec.dtype, spec.low, spec.high) == ("int32", 0, 18)


def test_parse_negative_integer_example() -> None:
    """Negative example values are legal then."""
    assert parse_tensor_spec(np.array([-4, 2])).low == -4


@pytest.mark.parametrize("array", [np.array(["a", "bc"]), np.array(["a", "bc"], object)])
def test_parse_string_example(array: np.ndarray) -> None:
    """Arrays of text have dtype ``string``, whichever way numpy keeps them."""
    assert parse_tensor_spec(array).dtype == "string"


def test_parse_empty_integer_example() -> None:
    """An empty array bounds nothing."""
    spec = parse_tensor_spec(np.zeros((0, 4), np.int64))

    assert (spec.low, spec.high) == (None, None)


def test_parse_scalar_integer_example() -> None:
    """A 0-d integer bounds nothing either: one number shows no range."""
    assert parse_tensor_spec(np.array(5)).high is None


def test_parse_foreign_dtype_name() -> None:
    """A tensor whose dtype prints as ``framework.float32`` is understood without importing the framework."""

    class Dtype:
        def __str__(self) -> str:
            return "torch.float32"

    class Tensor:
        dtype = Dtype()
        shape = (1, 4)

    assert str(parse_tensor_spec(Tensor())) == "float32[1, 4]"


def test_parse_something_else() -> None:
    """What describes no tensor is refused with what would."""
    with pytest.raises(SpecError, match=r"\[1, 2\] does not describe a tensor; accepted: 'float32\[batch, 3\]'"):
        parse_tensor_spec([1, 2])
