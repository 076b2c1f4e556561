"""One example: sizes, a value recipe per input, and a seed. Everything else follows from these."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from pytest_onnxprep.errors import OnnxPrepError
from pytest_onnxprep.fuzz.custom_values import custom_values
from pytest_onnxprep.fuzz.recipes import make_array, recipes_for
from pytest_onnxprep.spec.signature import Signature
from pytest_onnxprep.spec.tensor import TensorSpec

Feeds = dict[str, np.ndarray]


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

    def __init__(self, signature: Signature, *, special_values: bool = False, magnitudes: bool = True) -> None:
        self.signature = signature
        self.recipes: dict[str, list[str]] = {}
        self._custom: dict[str, Callable[[Any, tuple[int, ...]], Any]] = {}
        if signature.generate is None:
            for name, spec in signature.inputs.items():
                self.recipes[name] = recipes_for(name, spec, special_values=special_values, magnitudes=magnitudes)
                maker = custom_values(name, spec)
                if maker is not None:
                    self._custom[name] = maker

    def plain(self, sizes: Mapping[str, int], seed: int = 0) -> Example:
        """The example with every input's first recipe."""
        return Example(sizes, {name: kinds[0] for name, kinds in self.recipes.items()}, seed)

    def feeds(self, example: Example) -> Feeds:
        """Make the arrays.

        Raises:
            OnnxPrepError: ``generate`` or a callable in ``values=`` returned something else than was declared.
        """
        rng = np.random.default_rng(example.seed)
        if self.signature.generate is not None:
            return self._generated(example, rng)
        feeds: Feeds = {}
        for name, spec in self.signature.inputs.items():
            shape = spec.concrete(example.sizes)
            custom = self._custom.get(name)
            if custom is not None:
                feeds[name] = self._checked(name, spec, shape, _called("values", custom, rng, shape), "values")
            else:
                feeds[name] = make_array(example.recipes[name], spec, shape, rng)
        return feeds

    def _generated(self, example: Example, rng: np.random.Generator) -> Feeds:
        assert self.signature.generate is not None
        made = _called("generate", self.signature.generate, dict(example.sizes), rng)
        if not isinstance(made, Mapping) or set(made) != set(self.signature.inputs):
            names = ", ".join(made) if isinstance(made, Mapping) else type(made).__name__
            raise OnnxPrepError(
                f"generate returned {names}; a mapping with {', '.join(self.signature.inputs)} is needed"
            )
        return {
            name: self._checked(name, spec, spec.concrete(example.sizes), made[name], "generate")
            for name, spec in self.signature.inputs.items()
        }

    def _checked(self, name: str, spec: TensorSpec, shape: tuple[int, ...], value: Any, origin: str) -> np.ndarray:
        array = np.asarray(value)
        if array.shape != shape or (spec.dtype != "string" and array.dtype.name != spec.dtype):
            raise OnnxPrepError(
                f"{origin} made input {name!r} as {array.dtype.name}{list(array.shape)}; declared {spec}, "
                f"so {spec.dtype}{list(shape)} is needed here"
            )
        return np.ascontiguousarray(array).reshape(shape)


def _called(origin: str, function: Callable[..., Any], *arguments: Any) -> Any:
    """Call what the user wrote.

    Raises:
        OnnxPrepError: it raised.
    """
    try:
        return function(*arguments)
    except OnnxPrepError:
        raise
    except Exception as error:
        code = getattr(function, "__code__", None)
        where = f" ({os.path.basename(code.co_filename)}:{code.co_firstlineno})" if code else ""
        called = getattr(function, "__name__", type(function).__name__)
        sizes = next((value for value in arguments if isinstance(value, (dict, tuple))), "")
        raise OnnxPrepError(
            f"{origin}: {called}{where} raised {type(error).__name__}: {error}; it was called for {sizes}"
        ) from error
