"""Values the user makes: a list, a callable, or a Hypothesis strategy for the elements."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from pytest_onnxprep.errors import OnnxPrepError
from pytest_onnxprep.fuzz.recipes import numpy_dtype
from pytest_onnxprep.spec.tensor import TensorSpec


def custom_values(name: str, spec: TensorSpec) -> Callable[[Any, tuple[int, ...]], Any] | None:
    """The user's own value maker of an input, or None where a named recipe makes the values.

    Raises:
        OnnxPrepError: ``values=`` is neither a recipe, a list, a callable nor a Hypothesis strategy.
    """
    if spec.values is None or isinstance(spec.values, str):
        return None
    if isinstance(spec.values, (list, tuple)):
        return from_list(spec.values, spec.dtype)
    if type(spec.values).__module__.startswith("hypothesis."):
        return from_strategy(spec.values, spec.dtype)
    if callable(spec.values):
        maker: Callable[[Any, tuple[int, ...]], Any] = spec.values
        return maker
    raise OnnxPrepError(
        f"values of input {name!r} is {spec.values!r}; accepted: a named recipe, a list of values, "
        "a Hypothesis strategy, or f(rng, shape) -> array"
    )


def from_list(values: Sequence[Any], dtype: str) -> Callable[[Any, tuple[int, ...]], np.ndarray]:
    """Turn the admissible values into ``f(rng, shape)``: each element is one of them."""
    elements = np.array(values, dtype=numpy_dtype(dtype))
    return lambda rng, shape: np.asarray(elements[rng.integers(0, len(elements), shape)])


def from_strategy(strategy: Any, dtype: str) -> Callable[[Any, tuple[int, ...]], np.ndarray]:
    """Turn the user's element strategy into ``f(rng, shape)``: a pool drawn once, sampled with replacement.

    Elements that are arrays are taken whole, where their shape is the wanted one.
    """
    import hypothesis
    from hypothesis import HealthCheck, Phase, strategies

    pool: list[Any] = []

    @hypothesis.settings(
        parent=hypothesis.settings.get_profile("default"),
        max_examples=64,
        deadline=None,
        database=None,
        derandomize=True,
        phases=(Phase.generate,),
        suppress_health_check=list(HealthCheck),
    )
    @hypothesis.given(strategies.lists(strategy, min_size=1, max_size=8))
    def collect(values: list[Any]) -> None:
        pool.extend(values)

    collect()

    def make(rng: Any, shape: tuple[int, ...]) -> np.ndarray:
        if isinstance(pool[0], np.ndarray) and pool[0].shape:
            fitting = [array for array in pool if array.shape == shape]
            if not fitting:
                raise OnnxPrepError(f"the strategy in values= makes arrays of shape {pool[0].shape}, needed: {shape}")
            return np.asarray(fitting[int(rng.integers(len(fitting)))])
        elements = np.array(pool, dtype=object if dtype == "string" else dtype)
        return np.asarray(elements[rng.integers(0, len(elements), shape)])

    return make
