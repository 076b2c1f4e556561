"""Which sizes are tried first, what is drawn, and how a failure is made small."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_onnxprep.fuzz.corners import corner_sizes
from pytest_onnxprep.fuzz.draw import draw_examples
from pytest_onnxprep.fuzz.example import Example, Maker
from pytest_onnxprep.fuzz.shrink import shrink
from pytest_onnxprep.spec.dims import Dim
from pytest_onnxprep.spec.signature import Signature
from pytest_onnxprep.spec.tensor import TensorSpec


@st.composite
def dim_ranges(draw):
    """A range that holds at least one multiple."""
    step = draw(st.sampled_from([1, 1, 1, 2, 8, 32]))
    low = draw(st.integers(0, 4))
    return Dim(low * step, (low + draw(st.integers(0, 20))) * step, multiple_of=step)


@st.composite
def signatures(draw):
    """One to three dims over one or two inputs."""
    names = ["batch", "h", "w"][: draw(st.integers(1, 3))]
    specs = {"x": TensorSpec("float32", tuple(names)), "n": TensorSpec("int64", (names[0], f"{names[-1]} + 1"))}
    return Signature(specs, dims={name: draw(dim_ranges()) for name in names})


def of(**dims):
    """A signature with these dims."""
    return Signature({"x": TensorSpec("float32", tuple(dims))}, dims=dims)


# corners --------------------------------------------------------------------------------------------------------------


@settings(max_examples=200, deadline=None)
@given(signature=signatures())
def test_corners_are_legal_and_distinct(signature):
    """Every corner gives every dim a size of its range, once."""
    corners = corner_sizes(signature)

    assert all(set(sizes) == set(signature.dims) for sizes in corners)
    assert all(size in signature.dims[name] for sizes in corners for name, size in sizes.items())
    assert len({tuple(sizes.items()) for sizes in corners}) == len(corners) > 0


@settings(max_examples=200, deadline=None)
@given(signature=signatures())
def test_corners_reach_both_ends_of_every_dim(signature):
    """Each dim occurs at its smallest and at its largest size."""
    corners = corner_sizes(signature)

    for name, dim in signature.dims.items():
        seen = {sizes[name] for sizes in corners}
        assert {dim.smallest, dim.largest} <= seen


def test_the_traced_sizes_come_first():
    """What fails at the traced sizes is plainest told there."""
    signature = of(batch=Dim(1, 8), h=Dim(1, 8))

    assert corner_sizes(signature)[0] == signature.trace_sizes()


def test_corners_have_equal_and_different_sizes():
    """Two dims are equal in one corner and differ in another, both ways round."""
    corners = corner_sizes(of(h=Dim(2, 9), w=Dim(2, 9)))

    assert any(c["h"] == c["w"] > 2 for c in corners) or any(c["h"] == c["w"] for c in corners)
    assert any(c["h"] < c["w"] for c in corners)
    assert any(c["h"] > c["w"] for c in corners)


def test_corners_step_off_the_minimum_and_the_multiples():
    """The minimum and one (or the next multiple) is a corner; sizes off the multiples are not legal and not drawn."""
    assert {3} <= {c["b"] for c in corner_sizes(of(b=Dim(2, 50)))}
    assert {96} <= {c["h"] for c in corner_sizes(of(h=Dim(64, 256, multiple_of=32)))}


def test_powers_of_two_are_corners():
    """Blocks of kernels end at powers of two: those and their neighbours are tried."""
    seen = {c["n"] for c in corner_sizes(of(n=Dim(1, 70)))}

    assert {7, 8, 9} <= seen
    assert {15, 17} & seen


def test_zero_is_a_corner_where_it_is_legal():
    """A dim that may be empty is tried empty, not first."""
    corners = corner_sizes(of(n=Dim(0, 4), m=Dim(1, 4)))

    assert any(c["n"] == 0 for c in corners)
    assert corners[0]["n"] > 0


def test_corners_of_expressions_that_turn_negative_are_left_out():
    """An expression seq - 4 has no corner below 4."""
    signature = Signature({"x": TensorSpec("float32", ("seq - 4",))}, dims={"seq": Dim(1, 9)})

    assert all(sizes["seq"] >= 4 for sizes in corner_sizes(signature))


def test_a_model_without_dims_has_one_corner():
    """Static shapes are one example of sizes."""
    assert corner_sizes(Signature({"x": TensorSpec("float32", (1, 3))})) == [{}]


# drawing --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [0, 1, 9, 10, 35])
@pytest.mark.parametrize(
    "dims",
    [
        {"b": Dim(1, 8)},
        {"b": Dim(0, 8), "h": Dim(64, 256, multiple_of=32)},
        {"b": Dim(0, 2, multiple_of=2), "s": Dim(5, 5), "t": Dim(1, 1000)},
    ],
    ids=["one", "two", "three"],
)
def test_drawn_examples_are_legal_and_as_many_as_asked_for(count, dims):
    """Each has a size of every dim, a recipe of every input and a seed."""
    signature = of(**dims)
    maker = Maker(signature)
    drawn = draw_examples(maker, count)

    assert len(drawn) == count
    for example in drawn:
        assert all(size in signature.dims[name] for name, size in example.sizes.items())
        assert all(kind in maker.recipes[name] for name, kind in example.recipes.items())
        assert {name: a.shape for name, a in maker.feeds(example).items()} == signature.shapes(example.sizes)


def test_drawing_is_varied():
    """Many examples see many sizes, every recipe and many seeds, plain values more often than any other."""
    maker = Maker(of(b=Dim(1, 64)))
    drawn = draw_examples(maker, 400)

    kinds = [example.recipes["x"] for example in drawn]
    assert len(drawn) == 400
    assert max(set(kinds), key=kinds.count) == maker.recipes["x"][0]
    assert len({example.sizes["b"] for example in drawn}) > 20
    assert {example.recipes["x"] for example in drawn} == set(maker.recipes["x"])
    assert len({example.seed for example in drawn}) > 20


def test_examples_make_the_same_arrays_again():
    """An example is data: the same one gives the same feeds."""
    maker = Maker(of(b=Dim(1, 64)))
    for example in draw_examples(maker, 5):
        one, two = maker.feeds(example)["x"], Maker(maker.signature).feeds(example)["x"]
        assert one.tobytes() == two.tobytes()


def test_an_example_says_what_it_is():
    """Sizes, recipe and seed are readable, and JSON-able."""
    example = Example({"batch": 5, "seq": 7}, {"x": "normal"}, 3)

    assert str(example) == "batch=5, seq=7  (values: normal; seed 3)"
    assert example.to_json() == {"dims": {"batch": 5, "seq": 7}, "values": {"x": "normal"}, "seed": 3}


# shrinking ------------------------------------------------------------------------------------------------------------


@settings(max_examples=100, deadline=None)
@given(low=st.integers(1, 90), size=st.integers(1, 100), seed=st.integers(0, 1000))
def test_shrinking_finds_the_threshold(low, size, seed):
    """A failure from a size on is reported at that size, plainest and at seed 0."""
    maker = Maker(of(b=Dim(1, 100)))
    if size < low:
        return
    found = shrink(Example({"b": size}, {"x": "normal"}, seed), lambda example: example.sizes["b"] >= low, maker)

    assert found.sizes == {"b": low}
    assert found.recipes["x"] in ("ones", "zeros")
    assert found.seed == 0


@settings(max_examples=50, deadline=None)
@given(signature=signatures(), data=st.data())
def test_a_shrunk_example_still_fails_and_is_legal(signature, data):
    """Whatever fails, the answer fails too, and is no larger."""
    maker = Maker(signature)
    sizes = {
        name: data.draw(st.integers(dim.smallest // dim.multiple_of, dim.largest // dim.multiple_of)) * dim.multiple_of
        for name, dim in signature.dims.items()
    }
    start = Example(sizes, maker.plain(sizes).recipes, 9)
    modulus = data.draw(st.integers(1, 4))
    start_sum = sum(sizes.values()) % modulus

    def fails(example):
        return sum(example.sizes.values()) % modulus == start_sum

    found = shrink(start, fails, maker)
    assert fails(found)
    assert all(size in signature.dims[name] for name, size in found.sizes.items())
    assert sum(found.sizes.values()) <= sum(sizes.values()) or 0 in sizes.values()


def test_equal_dims_shrink_together():
    """A failure that needs h == w gets small all the same."""
    maker = Maker(of(h=Dim(1, 64), w=Dim(1, 64)))
    start = Example({"h": 40, "w": 40}, {"x": "normal"}, 1)
    found = shrink(start, lambda e: e.sizes["h"] == e.sizes["w"] and e.sizes["h"] >= 3, maker)

    assert found.sizes == {"h": 3, "w": 3}


def test_multiples_are_kept():
    """Sizes stay multiples of what was declared."""
    maker = Maker(of(h=Dim(64, 256, multiple_of=32)))
    found = shrink(Example({"h": 256}, {"x": "zeros"}, 0), lambda e: e.sizes["h"] > 100, maker)

    assert found.sizes == {"h": 128}


def test_a_recipe_that_is_needed_is_kept():
    """Values that matter are not made plainer."""
    maker = Maker(of(b=Dim(1, 8)))
    found = shrink(Example({"b": 8}, {"x": "ties"}, 77), lambda e: e.recipes["x"] == "ties", maker)

    assert (found.sizes, found.recipes, found.seed) == ({"b": 1}, {"x": "ties"}, 0)


def test_the_number_of_tries_is_bounded():
    """Shrinking ends, however slow the model is to give in."""
    maker = Maker(of(b=Dim(1, 10_000)))
    calls = []

    def fails(example):
        calls.append(example)
        return example.sizes["b"] % 2 == 0

    shrink(Example({"b": 10_000}, {"x": "normal"}, 5), fails, maker, max_tries=17)

    assert len(calls) <= 17


def test_time_is_bounded_too():
    """With no time nothing is tried."""
    start = Example({"b": 8}, {"x": "normal"}, 5)

    assert shrink(start, lambda example: True, Maker(of(b=Dim(1, 8))), max_s=-1) == start


def test_a_users_sample_is_not_shrunk():
    """Feeds that the user gave are shown as they are."""
    sample = Example({}, {}, sample="sample 0")

    assert shrink(sample, pytest.fail, Maker(of(b=Dim(1, 8)))) is sample
