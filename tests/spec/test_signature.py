"""Inputs, outputs and dims of a model together."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_onnxprep.spec.dims import DEFAULT_DIM, Dim
from pytest_onnxprep.spec.errors import SpecError
from pytest_onnxprep.spec.signature import Signature
from pytest_onnxprep.spec.tensor import TensorSpec, parse_tensor_spec


def decoder(**dims: Dim) -> Signature:
    """Two inputs that share dims, one of them through an expression."""
    inputs = {
        "ids": parse_tensor_spec("int64[batch, seq]"),
        "mask": parse_tensor_spec("int64[batch, past + seq]"),
    }
    return Signature(inputs, dims=dims)


def test_undeclared_dims_are_filled_in() -> None:
    """Every named dim has a range: the declared one or 1..8."""
    assert decoder(seq=Dim(2, 5)).dims == {"batch": DEFAULT_DIM, "seq": Dim(2, 5), "past": DEFAULT_DIM}


def test_unused_dim_is_refused() -> None:
    """A range for a dim no input has is a misspelling, and the near name is offered."""
    with pytest.raises(SpecError, match=r"no input has a dim named 'sqe'; did you mean 'seq'\? Named dims of the"):
        decoder(sqe=Dim(1, 4))


def test_generate_may_use_further_dims() -> None:
    """With the user's own input maker, dims need not show in any shape."""
    signature = Signature({"x": TensorSpec("float32", "n")}, dims={"beams": Dim(1, 3)}, generate=lambda d, r: {})

    assert signature.dims == {"n": DEFAULT_DIM, "beams": Dim(1, 3)}


def test_check_sizes_completes() -> None:
    """Sizes not given are the smallest, yet not zero."""
    signature = decoder(past=Dim(0, 4), seq=Dim(2, 6))

    assert signature.check_sizes({"batch": 3}, "latency_budget(at=...)") == {"batch": 3, "seq": 2, "past": 1}


def test_check_sizes_knows_its_dims() -> None:
    """A size for an unknown dim names the argument, the near dim and all dims."""
    with pytest.raises(
        SpecError, match=r"at names an unknown dim 'bacth'; did you mean 'batch'\? Dims of this model: "
    ):
        decoder().check_sizes({"bacth": 1}, "at")


def test_check_sizes_outside_range() -> None:
    """A size outside its declared range is refused."""
    with pytest.raises(SpecError, match=r"at: batch=9 is outside its declared range 1\.\.8"):
        decoder().check_sizes({"batch": 9}, "at")


def test_shapes() -> None:
    """The same name is the same size in every input."""
    assert decoder().shapes({"batch": 2, "seq": 3, "past": 4}) == {"ids": (2, 3), "mask": (2, 7)}


def test_negative_shape() -> None:
    """An expression below zero names the input, its type and the sizes."""
    signature = Signature({"x": parse_tensor_spec("float32[a - b]")})

    with pytest.raises(SpecError, match=r"input 'x' \(float32\[a - b\]\) has a negative size at .*'a': 1, 'b': 3"):
        signature.shapes({"a": 1, "b": 3})


def test_trace_sizes_differ() -> None:
    """Dims are traced with sizes that differ from each other, as tracers merge dims of equal size."""
    assert decoder(batch=Dim(1, 4, example=3)).trace_sizes() == {"batch": 3, "seq": 2, "past": 4}


def test_trace_sizes_keep_examples() -> None:
    """An example is kept, and the dims declared before it keep clear of it."""
    assert decoder(past=Dim(1, 8, example=2)).trace_sizes() == {"batch": 3, "seq": 4, "past": 2}


def test_trace_sizes_in_narrow_ranges() -> None:
    """Ranges that leave no choice are traced with equal sizes; multiples are kept."""
    narrow = decoder(batch=Dim(2, 2), seq=Dim(2, 2), past=Dim(0, 64, multiple_of=2))

    assert narrow.trace_sizes() == {"batch": 2, "seq": 2, "past": 4}


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5), st.integers(1, 3)), min_size=1, max_size=5))
def test_trace_sizes_are_sizes(ranges: list[tuple[int, int, int]]) -> None:
    """Whatever the ranges, every dim is traced with one of its own sizes."""
    dims = {f"d{i}": Dim(low, low + step * span, step) for i, (low, span, step) in enumerate(ranges) if low % step == 0}
    signature = Signature({"x": TensorSpec("float32", tuple(dims))}, dims=dims)

    assert all(size in dims[name] for name, size in signature.trace_sizes().items())


def test_with_outputs() -> None:
    """Reported output names fill a gap and never replace what was declared."""
    bare = decoder()
    declared = bare.with_outputs(["logits"])

    assert declared.outputs == {"logits": None}
    assert declared.with_outputs(["other"]) is declared
    assert bare.outputs is None


def test_canonical_is_json_and_tells_signatures_apart() -> None:
    """Equal signatures have equal canonical forms and a changed range changes it."""
    one, same, other = decoder(), decoder(batch=Dim(1, 8)), decoder(batch=Dim(1, 9))

    assert json.loads(json.dumps(one.canonical())) == one.canonical()
    assert one.canonical() == same.canonical()
    assert one.canonical() != other.canonical()
    assert one.canonical() != one.with_outputs(["y"]).canonical()
