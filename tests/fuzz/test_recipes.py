"""Every recipe keeps dtype, shape and range, and makes what it is called after."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from pytest_onnxprep.fuzz.example import Maker
from pytest_onnxprep.fuzz.recipes import make_array, recipes_for
from pytest_onnxprep.spec.signature import Signature
from pytest_onnxprep.spec.tensor import RECIPES, TensorSpec

FLOATS = ["float16", "float32", "float64"]
INTS = ["int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"]
SHAPES = hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=5)
#: dtype -> range; None is an open end.
RANGES = {
    "float32": [(None, None), (0.0, 1.0), (-3.0, None), (None, -2.0), (5.0, 5.0)],
    "int64": [(None, None), (0, 10), (-5, 5), (7, 8), (-10, None), (None, 3), (-(2**62), 2**62)],
    "uint8": [(None, None), (250, 256), (None, 1), (3, None), (255, None)],
    "int8": [(None, None), (-128, 128), (-128, -120), (None, -20), (None, 0)],
    "uint64": [(None, None), (2**63, 2**64), (0, 2), (0, 2**64), (2**64 - 1, None)],
    "int32": [(None, None), (0, 30522)],
    "float16": [(None, None), (0.0, 255.0)],
}


def rng(seed=0):
    """A generator."""
    return np.random.default_rng(seed)


@settings(max_examples=300, deadline=None)
@given(data=st.data(), dtype=st.sampled_from(sorted(RANGES)), shape=SHAPES, seed=st.integers(0, 2**16))
def test_recipes_keep_dtype_shape_and_range(data, dtype, shape, seed):
    """The bound low is inclusive; high is exclusive for integers and inclusive for floats."""
    low, high = data.draw(st.sampled_from(RANGES[dtype]))
    spec = TensorSpec(dtype, tuple(shape), low=low, high=high)
    recipe = data.draw(st.sampled_from(recipes_for("x", spec)))
    array = make_array(recipe, spec, shape, rng(seed))

    assert (array.dtype.name, array.shape) == (dtype, shape)
    assert array.flags.c_contiguous
    assert array.flags.writeable
    values = [value.item() for value in array.reshape(-1)]
    if low is not None:
        assert all(value >= low for value in values)
    if high is not None:
        assert all(value < high if "int" in dtype else value <= high for value in values)


@settings(max_examples=100, deadline=None)
@given(
    dtype=st.sampled_from([*FLOATS, *INTS, "bool", "string"]), shape=SHAPES, seed=st.integers(0, 2**16), data=st.data()
)
def test_a_recipe_is_a_function_of_its_seed(dtype, shape, seed, data):
    """The same seed makes the same array, which is what makes a failure repeatable."""
    spec = TensorSpec(dtype, tuple(shape))
    recipe = data.draw(st.sampled_from(recipes_for("x", spec)))

    np.testing.assert_array_equal(
        make_array(recipe, spec, shape, rng(seed)), make_array(recipe, spec, shape, rng(seed))
    )


@pytest.mark.parametrize("dtype", [*FLOATS, *INTS, "bool", "string", "bfloat16"])
def test_every_dtype_has_recipes_with_names_of_the_list(dtype):
    """Whatever is drawn is a documented recipe."""
    kinds = recipes_for("x", TensorSpec(dtype, (2,)), special_values=True)

    assert kinds
    assert set(kinds) <= set(RECIPES)
    assert all(make_array(kind, TensorSpec(dtype, (2, 3)), (2, 3), rng()).shape == (2, 3) for kind in kinds)


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_named_recipe_is_the_only_one(recipe):
    """values="name" is obeyed, except that a mask comes in all the forms a tokenizer makes."""
    found = recipes_for("x", TensorSpec("float32", (2,), values=recipe))

    assert found == ["mask", "ones", "random_mask"] if recipe == "mask" else found == [recipe]


def test_special_values_are_drawn_only_when_asked_for():
    """NaN and infinities come with special_values alone."""
    spec = TensorSpec("float32", (50,))
    plain = [make_array(kind, spec, (50,), rng(seed)) for kind in recipes_for("x", spec) for seed in range(20)]
    special = [make_array("special", spec, (50,), rng(seed)) for seed in range(20)]

    assert all(np.isfinite(array).all() for array in plain)
    assert "special" in recipes_for("x", spec, special_values=True)
    assert all(not np.isfinite(array).all() or (array == 0).any() for array in special)
    assert any(np.isnan(array).any() for array in special)
    assert any(np.isposinf(array).any() for array in special)
    assert any(np.isneginf(array).any() for array in special)


@pytest.mark.parametrize("name", ["attention_mask", "mask", "Padding_Mask"])
def test_an_input_called_mask_is_one(name):
    """Of every form there is: right and left padding, none, alternating, empty; "mask" has no empty row."""
    for dtype in ("int64", "bool"):
        spec = TensorSpec(dtype, (4, 6))
        forms = ["mask", "ones", "random_mask", "suffix_mask", "alternating", "zeros"]
        assert recipes_for(name, spec) == forms
        for seed in range(20):
            mask = make_array("mask", spec, (4, 6), rng(seed)).astype(int)
            assert (np.diff(mask, axis=1) <= 0).all()
            assert (mask[:, 0] == 1).all()


def test_a_float_called_mask_is_an_ordinary_input():
    """A float mask is an image, or a bias: nobody knows."""
    assert "normal" in recipes_for("mask", TensorSpec("float32", (4,)))


@pytest.mark.parametrize("shape", [(0,), (3, 0), ()])
def test_masks_of_odd_shapes(shape):
    """Empty and 0-d masks are made without complaint."""
    for kind in ("mask", "random_mask"):
        assert make_array(kind, TensorSpec("int64", shape), shape, rng()).shape == shape


def meaning(recipe, dtype="float32", shape=(6, 8), seed=1, **limits):
    """One array of a recipe."""
    return make_array(recipe, TensorSpec(dtype, shape, **limits), shape, rng(seed))


def test_recipes_are_what_they_are_called():
    """Zeros are zeros, rows repeat, ramps rise, ties tie, ends are ends."""
    assert not meaning("zeros").any()
    assert (meaning("ones") == 1).all()
    assert (meaning("repeated") == meaning("repeated")[0]).all()
    assert (np.diff(meaning("ramp").reshape(-1)) > 0).all()
    assert len(np.unique(meaning("ties"))) < 12
    assert (meaning("halves") * 2 % 1 == 0).all()
    assert set(np.unique(meaning("ends", "int64", low=3, high=9))) == {3, 8}
    assert set(np.unique(meaning("ends", "float32", low=-3, high=9))) == {-3, 9}
    assert (meaning("signed", "int64") < 0).any()
    assert (meaning("signed", "int64") > 0).any()
    assert np.abs(meaning("small")).max() < 0.01
    assert np.abs(meaning("large")).max() > 10


def test_uniform_covers_the_range():
    """The whole declared range is drawn, not its middle."""
    values = meaning("uniform", shape=(2000,), low=-2, high=6)

    assert values.min() < -1.9
    assert values.max() > 5.9


def test_integers_cover_the_range():
    """Every index of a small vocabulary is drawn."""
    assert set(np.unique(meaning("integers", "int64", shape=(500,), low=0, high=7))) == set(range(7))


def test_words_hold_more_than_ascii():
    """The empty string and other alphabets are among the words."""
    words = set(meaning("words", "string", shape=(200,)).reshape(-1).tolist())

    assert "" in words
    assert any(not word.isascii() for word in words)


def test_a_strategy_gives_the_elements():
    """values= may be a Hypothesis strategy."""
    spec = TensorSpec("int64", "b, 3", values=st.sampled_from([4, 9]))
    maker = Maker(Signature({"x": spec}))
    feeds = maker.feeds(maker.plain({"b": 50}))

    assert feeds["x"].shape == (50, 3)
    assert feeds["x"].dtype == np.int64
    assert set(np.unique(feeds["x"])) == {4, 9}


def test_a_callable_gives_the_array():
    """values= may be f(rng, shape)."""
    maker = Maker(Signature({"x": TensorSpec("float32", "b", values=lambda rng, shape: np.full(shape, 7, "f"))}))

    assert maker.feeds(maker.plain({"b": 3}))["x"].tolist() == [7, 7, 7]


def test_generate_makes_inputs_that_belong_together():
    """generate= gets the sizes and a Generator, and is checked."""
    spec = TensorSpec("float32", "b")
    signature = Signature(
        {"x": spec, "y": spec}, generate=lambda dims, rng: dict.fromkeys("xy", rng.random(dims["b"], "f"))
    )
    maker = Maker(signature)
    feeds = maker.feeds(maker.plain({"b": 4}, seed=5))

    np.testing.assert_array_equal(feeds["x"], feeds["y"])
    np.testing.assert_array_equal(feeds["x"], rng(5).random(4, "f"))


def test_a_scalar_of_every_dtype_is_an_array() -> None:
    """ONNX Runtime takes 0-d arrays, not NumPy scalars."""
    for dtype in ("float32", "int64", "uint8", "bool"):
        spec = TensorSpec(dtype, "")
        for recipe in recipes_for("x", spec):
            assert isinstance(make_array(recipe, spec, (), np.random.default_rng(0)), np.ndarray), (dtype, recipe)


def test_pictures_use_the_whole_range_of_their_dtype() -> None:
    """8-bit inputs without a declared range reach both ends: a cast to a narrower type must show."""
    values = make_array("integers", TensorSpec("uint8", "n"), (4096,), np.random.default_rng(0))

    assert values.min() < 16
    assert values.max() > 240


def test_magnitudes_are_left_out_for_plain_absolute_bounds() -> None:
    """An explicit atol alone is set for ordinary magnitudes, an rtol for large ones, no numbers for any."""
    spec = TensorSpec("float32", "n")

    assert "large" in recipes_for("x", spec)
    assert not {"large", "huge"} & set(recipes_for("x", spec, magnitudes=0))
    assert "huge" not in recipes_for("x", spec, magnitudes=1)
    assert "huge" in recipes_for("x", spec)
