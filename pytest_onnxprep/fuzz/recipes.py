"""Value recipes: a name, a spec, a shape and a Generator give an array.

Hypothesis never draws elements, so a megapixel costs no more to draw than a scalar.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from pytest_onnxprep.fuzz.floats import float_values
from pytest_onnxprep.fuzz.integers import NARROW, integer_values
from pytest_onnxprep.fuzz.masks import MASK_MAKERS
from pytest_onnxprep.spec.tensor import TensorSpec

Shape = tuple[int, ...]
Rng = np.random.Generator

_SHAPES_OF_VALUES = ["zeros", "ones", "repeated", "ramp", "ties"]
_FREE_FLOATS = ["normal", "uniform", *_SHAPES_OF_VALUES, "halves", "small", "constant", "sparse", "onehot", "steps"]
_FREE_FLOATS += ["tiny", "denormals"]
_BOUND_FLOATS = ["uniform", "ends", *_SHAPES_OF_VALUES, "halves", "constant", "sparse", "onehot", "steps"]
#: Numbers are set with ordinary magnitudes in mind, an absolute bound most of all; a derived tolerance follows any.
_MAGNITUDES = ["large", "huge"]
_SPECIAL = ["special", "nan", "infinities"]
_FREE_INTEGERS = ["integers", "signed", *_SHAPES_OF_VALUES, "wide", "constant"]
_BOUND_INTEGERS = ["integers", "ends", *_SHAPES_OF_VALUES, "lowest", "highest", "constant"]
#: What a tokenizer makes: every row keeps its first token.
_PADDING_MASKS = ["mask", "ones", "random_mask"]
_ANY_MASKS = [*_PADDING_MASKS, "suffix_mask", "alternating", "zeros"]
_BOOLEANS = ["bernoulli", "ones", "zeros", "alternating", "mask", "suffix_mask"]


def recipes_for(name: str, spec: TensorSpec, *, special_values: bool = False, magnitudes: int = 2) -> list[str]:
    """The recipes of an input, plainest first, by dtype, range and role (an input named ``...mask`` is a mask).

    Args:
        name: of the input.
        spec: its declaration.
        special_values: whether NaN and infinities are legal.
        magnitudes: how many of ``large`` and ``huge`` an undeclared float gets.
    """
    if isinstance(spec.values, str):
        return list(_PADDING_MASKS) if spec.values == "mask" else [spec.values]
    if spec.values is not None:
        return ["custom"]
    if spec.dtype == "string":
        return ["words"]
    if "mask" in name.lower() and spec.low in (None, 0) and spec.high in (None, 2) and "float" not in spec.dtype:
        return list(_ANY_MASKS)
    if spec.dtype == "bool":
        return list(_BOOLEANS)
    bound = spec.low is not None or spec.high is not None
    if "int" in spec.dtype:
        return list(_BOUND_INTEGERS if bound or spec.dtype in NARROW else _FREE_INTEGERS)
    kinds = _BOUND_FLOATS if bound else _FREE_FLOATS + _MAGNITUDES[:magnitudes]
    if spec.dtype == "float16":  # half precision has neither room above nor digits below
        kinds = [kind for kind in kinds if kind not in ("huge", "tiny", "denormals")]
    return kinds + (_SPECIAL if special_values else [])


def make_array(recipe: str, spec: TensorSpec, shape: Shape, rng: Rng) -> np.ndarray:
    """Make one array of the spec's dtype, inside its declared range, contiguous and writable.

    Args:
        recipe: a name of `pytest_onnxprep.spec.tensor.RECIPES`.
        spec: dtype and range.
        shape: concrete shape.
        rng: source of randomness.
    """
    if recipe == "words":
        return _words(shape, rng)
    dtype = numpy_dtype(spec.dtype)
    values: Any
    if recipe in MASK_MAKERS:
        values = MASK_MAKERS[recipe](shape, rng)
    elif dtype.kind in "iu":
        values = integer_values(recipe, spec, shape, rng)
    elif dtype.kind == "b":
        values = np.full(shape, recipe == "ones") if recipe in ("zeros", "ones") else rng.random(shape) < 0.5
    else:
        # float32 is drawn as such; other widths are rounded from it or from float64.
        values = float_values(recipe, spec, shape, rng, np.float64 if dtype.itemsize == 8 else np.float32)
    array = values if type(values) is np.ndarray else np.asarray(values)
    if array.dtype != dtype:
        with np.errstate(over="ignore"):
            array = array.astype(dtype)
    flags = array.flags
    # numpy's own way to contiguity makes one element of a 0-d array.
    return array if flags.c_contiguous and flags.writeable else array.copy(order="C").reshape(shape)


@cache
def numpy_dtype(name: str) -> np.dtype[Any]:
    """The numpy dtype of a declared dtype name; bfloat16 is ``ml_dtypes``'s."""
    if name == "bfloat16":
        import ml_dtypes

        brain_float: np.dtype[Any] = np.dtype(ml_dtypes.bfloat16)
        return brain_float
    return np.dtype(object if name == "string" else name)


_WORDS = ["", "a", "edge", "model", "ONNX", "grüße", "日本", "two words"]


def _words(shape: Shape, rng: Rng) -> np.ndarray:
    chosen: np.ndarray = np.array(_WORDS, dtype=object)[rng.integers(0, len(_WORDS), int(np.prod(shape)))]
    return chosen.reshape(shape)
