"""A stage that stays in Python: a function from arrays to arrays."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np

from pytest_onnxprep.errors import ReferenceRefused, SourceError
from pytest_onnxprep.sources.base import Arrays, Feeds, Source, flatten_outputs, name_outputs
from pytest_onnxprep.sources.load import describe, load_source, one_line
from pytest_onnxprep.sources.recognise import framework_of
from pytest_onnxprep.sources.source_code import Digest, code_digest
from pytest_onnxprep.spec.signature import Signature

_NAMED = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


class PythonSource(Source):
    """A function of NumPy arrays."""

    framework = "python"

    def __init__(self, function: Callable[..., Any]) -> None:
        self.model = function
        self.label = f"{describe(function)}, left in Python"

    def run(self, feeds: Feeds, signature: Signature) -> Arrays:
        """See `Source.run`; the function gets copies, by keyword where it has parameters of these names."""
        copies = {name: array.copy() for name, array in feeds.items()}
        by_name = set(copies) <= set(parameters(self.model, required=False))
        try:
            outputs = self.model(**copies) if by_name else self.model(*copies.values())
        except Exception as error:
            raise ReferenceRefused(f"{self.label}: {type(error).__name__}: {one_line(error)}") from error
        natural = [(name, _to_numpy(value)) for name, value in flatten_outputs(outputs, _is_array)]
        return dict(name_outputs(natural, signature, self.label))

    def fingerprint(self) -> Digest:
        """The function's code."""
        return code_digest([self.model])


def load_unexported(value: Any, base: Any) -> Source:
    """The source of a stage with ``export=False``: a function of arrays, or any model."""
    if callable(value) and not isinstance(value, type) and framework_of(value) is None:
        if parameters(value) or _takes_any(value):
            return PythonSource(value)
        try:
            made = value()
        except Exception as error:
            raise SourceError(f"factory {describe(value)} raised {type(error).__name__}: {one_line(error)}") from error
        if callable(made) and framework_of(made) is None:
            return PythonSource(made)
        value = made
    return load_source(value, base=base)


def parameters(function: Callable[..., Any], *, required: bool = True) -> list[str]:
    """Names of a function's parameters, in order; of all, or of those that have no default."""
    try:
        found = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return []
    return [p.name for p in found if p.kind in _NAMED and (not required or p.default is p.empty)]


def _takes_any(function: Callable[..., Any]) -> bool:
    try:
        found = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return True
    return any(p.kind in (p.VAR_POSITIONAL, p.VAR_KEYWORD, p.POSITIONAL_ONLY) for p in found)


def _is_array(value: Any) -> bool:
    return isinstance(value, (np.ndarray, np.generic, int, float, bool)) or hasattr(value, "__array__")


def _to_numpy(value: Any) -> np.ndarray:
    if hasattr(value, "detach"):
        value = value.detach().cpu()
    return np.asarray(value)
