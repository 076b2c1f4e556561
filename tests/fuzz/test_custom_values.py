"""Values the user lists."""

from __future__ import annotations

import numpy as np
import pytest

from pytest_onnxprep.fuzz.custom_values import custom_values
from pytest_onnxprep.spec.tensor import TensorSpec


@pytest.mark.parametrize(
    ("dtype", "values"),
    [("int64", [8000, 16000]), ("float32", (0.5,)), ("bool", [True]), ("string", ["a", "b"]), ("bfloat16", [1.0, 2.0])],
)
def test_only_listed_values_come(dtype, values):
    """Each element is one of the list, in the declared dtype; a scalar, too."""
    spec = TensorSpec(dtype, "n", values=values)
    make = custom_values("x", spec)
    rng = np.random.default_rng(0)

    assert set(make(rng, (64,)).tolist()) == set(values)
    assert make(rng, ()).shape == ()
    assert make(rng, (0, 3)).shape == (0, 3)
    assert hash(spec)
