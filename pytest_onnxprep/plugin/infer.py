"""Which framework a factory builds for, told at collection without calling it and without importing anything.

Only test ids depend on it (``dynamo-opset20`` for a torch model): a wrong or missing guess is put right when the
model is built.
"""

from __future__ import annotations

import inspect
import sys
import types
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Any

from pytest_onnxprep.sources.code_names import names_of
from pytest_onnxprep.sources.recognise import framework_of, framework_of_type

#: Top-level packages, most telling first: a Keras factory also mentions tensorflow, a Transformers one also torch.
_PACKAGES = ("transformers", "keras", "tensorflow", "torch", "jax")
_OF_JAX = MappingProxyType(dict.fromkeys(("jaxlib", "flax", "equinox", "eqx", "nnx", "linen", "jnp"), "jax"))
_LIMIT = 200


def infer_framework(source: Any) -> str | None:
    """The framework of a model, path or factory; None where nothing gives it away."""
    known = framework_of(source)
    if known in ("pipeline", "ensemble"):
        return _of_parts(source)
    if known is not None:
        return known
    if isinstance(source, type):
        return framework_of_type(source)
    function = inspect.unwrap(getattr(source, "func", source)) if callable(source) else None
    if not isinstance(function, (types.FunctionType, types.MethodType)):
        return None
    return _of_annotation(function) or _of_code(function)


def _of_parts(source: Any) -> str | None:
    """The framework that all exported parts have in common."""
    from pytest_onnxprep.spec.composition import Pipeline, stage_of

    parts = [stage_of(part) for part in (source.stages if isinstance(source, Pipeline) else source.members)]
    found = {infer_framework(part.source) for part in parts if part.export}
    (common, *others) = found
    return None if others or common == "onnx" else common


def _of_annotation(function: Callable[..., Any]) -> str | None:
    returns = getattr(function, "__annotations__", {}).get("return")
    if isinstance(returns, type):
        return framework_of_type(returns) or _of_package(returns.__module__)
    if isinstance(returns, str):
        return _of_package(returns.strip("\"'"), aliases={**_OF_JAX, "tf": "tensorflow", "nn": "torch"})
    return None


def _of_package(dotted: str, aliases: Mapping[str, str] = _OF_JAX) -> str | None:
    top = dotted.partition(".")[0]
    top = aliases.get(top, top)
    return top if top in _PACKAGES else None


def _of_code(function: Callable[..., Any]) -> str | None:
    """Follow the names a function uses through the user's own functions and classes."""
    found: set[str] = set()
    queue: list[Any] = [function]
    seen: set[int] = set()
    while queue and len(seen) < _LIMIT:
        value = queue.pop(0)
        if id(value) in seen:
            continue
        seen.add(id(value))
        kind = _direct(value)
        if kind is not None:
            found.add(kind)
            continue
        value = inspect.unwrap(value) if callable(value) else value  # a cached function has neither globals nor closure
        code = getattr(value, "__code__", None)
        if code is None:
            continue
        loaded = names_of(code)[0]
        for name in _names(code):
            kind = _of_package(name)
            if kind is not None:
                found.add(kind)
            referenced = value.__globals__.get(name) if name in loaded else None  # the nn of jax.nn is no global
            if referenced is not None:
                queue.append(referenced)
        queue += _local_imports(code)
        queue += [cell.cell_contents for cell in value.__closure__ or () if _filled(cell)]
    return next((package for package in _PACKAGES if package in found), None)


def _direct(value: Any) -> str | None:
    if isinstance(value, types.ModuleType):
        return _of_package(value.__name__)
    if isinstance(value, type):
        return framework_of_type(value)
    return framework_of_type(type(value))


def _names(code: types.CodeType) -> Iterator[str]:
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _names(constant)


def _local_imports(code: types.CodeType) -> list[Any]:
    """Objects of modules imported inside the function, where those modules are loaded already."""
    names = set(_names(code))
    modules = [sys.modules[name] for name in names if name in sys.modules and "." in name]
    return [getattr(module, name) for module in modules for name in names if hasattr(module, name)]


def _filled(cell: types.CellType) -> bool:
    try:
        return cell.cell_contents is not None
    except ValueError:
        return False
