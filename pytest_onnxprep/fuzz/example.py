"""One example: sizes, a value recipe per input, and a seed. Everything else follows from these."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from pytest_onnxprep.errors import Finding, OnnxPrepError, ReferenceRefused
from pytest_onnxprep.fuzz.custom_values import custom_values
from pytest_onnxprep.fuzz.recipes import make_array, recipes_for
from pytest_onnxprep.spec.errors import SpecError
from pytest_onnxprep.spec.signature import Signature
from pytest_onnxprep.spec.tensor import TensorSpec

Feeds = dict[str, np.ndarray]

#: Elements of one input: beyond this a declared range is a mistake, or a file's a hostile one.
MOST_ELEMENTS = 2**31


@dataclass(frozen=True)
class Example:
    """What is drawn; `Maker` turns it into arrays.

    Args:
        sizes: named dim -> size.
        recipes: input name -> value recipe.
        seed: of NumPy's Generator.
        sample: a name for feeds the user gave; then sizes, recipes and seed say nothing.
    """

    sizes: Mapping[str, int]
    recipes: Mapping[str, str]
    seed: int = 0
    sample: str = ""

    @property
    def key(self) -> tuple[Any, ...]:
        """What tells the examples of one signature apart."""
        return (*self.sizes.values(), *self.recipes.values(), self.seed)

    def __str__(self) -> str:
        if self.sample:
            return self.sample
        sizes = ", ".join(f"{name}={size}" for name, size in self.sizes.items()) or "fixed sizes"
        kinds = list(dict.fromkeys(self.recipes.values()))
        values = kinds[0] if len(kinds) == 1 else ", ".join(f"{name} {kind}" for name, kind in self.recipes.items())
        return f"{sizes}  (values: {values or 'generate'}; seed {self.seed})"

    def to_json(self) -> dict[str, Any]:
        """The ``minimal`` figure of a report."""
        if self.sample:
            return {"sample": self.sample}
        return {"dims": dict(self.sizes), "values": dict(self.recipes), "seed": self.seed}


class Maker:
    """Makes the arrays of an example, for one signature."""

    def __init__(self, signature: Signature, *, special_values: bool = False, magnitudes: int = 2) -> None:
        self.signature = signature
        self.recipes: dict[str, list[str]] = {}
        self._custom: dict[str, Callable[[Any, tuple[int, ...]], Any]] = {}
        if signature.generate is None:
            for name, spec in signature.inputs.items():
                self.recipes[name] = recipes_for(name, spec, special_values=special_values, magnitudes=magnitudes)
                maker = custom_values(name, spec)
                if maker is not None:
                    self._custom[name] = maker
        #: What random examples choose from: plain values are a third.
        self.choices = {name: [*kinds, *kinds[:1] * (len(kinds) // 2)] for name, kinds in self.recipes.items()}
        self.combinations = math.prod(len(kinds) for kinds in self.choices.values())
        # One Generator, reseeded: making a new one costs ten times as much (NumPy hashes its seed).
        self._rng = np.random.Generator(np.random.Philox(key=0))
        self._state: dict[str, Any] = dict(self._rng.bit_generator.state)
        bound = {name: spec for name, spec in signature.inputs.items() if not signature.free.intersection(spec.names)}
        self._shapes = {name: _shape_maker(spec) for name, spec in bound.items()}

    def plain(self, sizes: Mapping[str, int], seed: int = 0) -> Example:
        """The example with every input's first recipe."""
        return Example(sizes, {name: kinds[0] for name, kinds in self.recipes.items()}, seed)

    def feeds(self, example: Example) -> Feeds:
        """Make the arrays.

        Raises:
            OnnxPrepError: ``generate`` or a callable in ``values=`` returned something else than was declared, or an
                array would be too large to make.
        """
        rng = self._seeded(example.seed)
        if self.signature.generate is not None:
            return self._generated(example, rng)
        feeds: Feeds = {}
        sizes = example.sizes
        for name, spec in self.signature.inputs.items():
            shape = self._shapes[name](sizes)
            if math.prod(shape) > MOST_ELEMENTS:
                raise OnnxPrepError(
                    f"input {name!r} would hold {math.prod(shape):.3g} elements at {example}: no array is made of "
                    f"more than {MOST_ELEMENTS:.3g}; narrow the ranges in dims="
                )
            custom = self._custom.get(name) if self._custom else None
            if custom is not None:
                feeds[name] = self._checked(name, spec, shape, _called("values", custom, rng, shape), "values")
            else:
                feeds[name] = make_array(example.recipes[name], spec, shape, rng)
        return feeds

    def legal(self, sizes: Mapping[str, int]) -> bool:
        """Whether every input has a shape at these sizes: an expression may turn negative, or divide by zero."""
        try:
            return all(min(make(sizes), default=0) >= 0 for make in self._shapes.values())
        except SpecError:
            return False

    def _seeded(self, seed: int) -> np.random.Generator:
        """A Generator at the start of the stream of ``seed``."""
        if self.signature.generate is not None or self._custom:
            return np.random.default_rng(seed)  # the user's code may keep it
        self._state["state"] = {"counter": _START, "key": np.array([seed, 0], np.uint64)}
        self._rng.bit_generator.state = self._state
        return self._rng

    def _generated(self, example: Example, rng: np.random.Generator) -> Feeds:
        assert self.signature.generate is not None
        made = _called("generate", self.signature.generate, dict(example.sizes), rng)
        if not isinstance(made, Mapping) or set(made) != set(self.signature.inputs):
            names = ", ".join(made) if isinstance(made, Mapping) else type(made).__name__
            raise OnnxPrepError(
                f"generate returned {names}; a mapping with {', '.join(self.signature.inputs)} is needed"
            )
        return {
            name: self._checked(name, spec, self._shape_of(spec, example.sizes, made[name]), made[name], "generate")
            for name, spec in self.signature.inputs.items()
        }

    def _shape_of(self, spec: TensorSpec, sizes: Mapping[str, int], made: Any) -> tuple[int, ...]:
        """The declared shape; of free dims, the size they were given."""
        found = np.shape(made)
        free = self.signature.free
        if not free.intersection(spec.names):
            return spec.concrete(sizes)
        if len(found) != len(spec.shape):
            return (0,) * len(spec.shape)
        pairs = zip(spec.shape, found, strict=True)
        return tuple(size if free.intersection(dim.names) else dim.evaluate(sizes) for dim, size in pairs)

    def _checked(self, name: str, spec: TensorSpec, shape: tuple[int, ...], value: Any, origin: str) -> np.ndarray:
        array = np.asarray(value)
        if array.shape != shape or (spec.dtype != "string" and array.dtype.name != spec.dtype):
            raise OnnxPrepError(
                f"{origin} made input {name!r} as {array.dtype.name}{list(array.shape)}; declared {spec}, "
                f"so {spec.dtype}{list(shape)} is needed here"
            )
        return np.ascontiguousarray(array).reshape(shape)


_START = np.zeros(4, np.uint64)


def _shape_maker(spec: TensorSpec) -> Callable[[Mapping[str, int]], tuple[int, ...]]:
    """``sizes -> shape``, without walking the expression where every dim is a number or a name."""
    nodes = [dim.node for dim in spec.shape]
    if all(isinstance(node, int) for node in nodes):
        fixed = spec.concrete({})
        return lambda _sizes: fixed
    if all(isinstance(node, (int, str)) for node in nodes):
        return lambda sizes: tuple([node if node.__class__ is int else sizes[node] for node in nodes])
    return spec.concrete


def _called(origin: str, function: Callable[..., Any], *arguments: Any) -> Any:
    """Call what the user wrote.

    Raises:
        OnnxPrepError: it raised.
    """
    try:
        return function(*arguments)
    except (OnnxPrepError, Finding, ReferenceRefused):
        raise
    except Exception as error:
        code = getattr(function, "__code__", None)
        where = f" ({os.path.basename(code.co_filename)}:{code.co_firstlineno})" if code else ""
        called = getattr(function, "__name__", type(function).__name__)
        sizes = next((value for value in arguments if isinstance(value, (dict, tuple))), "")
        raise OnnxPrepError(
            f"{origin}: {called}{where} raised {type(error).__name__}: {error}; it was called for {sizes}"
        ) from error
