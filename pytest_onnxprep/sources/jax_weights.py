"""Where the arrays of a JAX model lie: in a tree, in an nnx module, or in what a function closes over."""

from __future__ import annotations

import dataclasses
import functools
import inspect
import types
from collections.abc import Iterator
from typing import Any

from pytest_onnxprep.sources.code_names import names_of
from pytest_onnxprep.sources.live_code import runs_user_code
from pytest_onnxprep.sources.recognise import is_class

_DEEPEST = 4


def of_tree(tree: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Path -> array, of every leaf of a pytree that is one."""
    import jax

    for path, leaf in jax.tree_util.tree_flatten_with_path(tree)[0]:
        if hasattr(leaf, "dtype") and hasattr(leaf, "shape"):
            name = ".".join(filter(None, (prefix, *map(_key, path))))
            yield name, leaf


def _key(entry: Any) -> str:
    for attribute in ("key", "name", "idx"):
        if hasattr(entry, attribute):
            return str(getattr(entry, attribute))
    return str(entry)


def of_function(function: Any, depth: int = 0) -> Iterator[tuple[str, Any]]:
    """Arrays in the closure, the globals and the bound arguments of a user's function, and of those it refers to."""
    for name, value in _referred(function):
        yield from _of_value(name, value, depth)


def _of_value(name: str, value: Any, depth: int) -> Iterator[tuple[str, Any]]:
    if is_class(value, "nnx"):
        start = f"{name}." if name else ""
        yield from ((f"{start}{path}", variable.get_value()) for path, variable in nnx_variables(value))
    elif is_class(value, "linen"):
        yield from of_tree(value.variables if value.scope is not None else (), name)
    elif is_function(value):
        if depth < _DEEPEST:
            yield from of_function(value, depth + 1)
    elif not isinstance(value, (types.ModuleType, type)):
        yield from of_tree(value, name)


def _referred(function: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(function, functools.partial):
        yield "", function.func
        yield from ((f"args.{index}", value) for index, value in enumerate(function.args))
        yield from function.keywords.items()
        return
    inner = inspect.unwrap(function)
    if isinstance(inner, types.MethodType):
        yield "self", inner.__self__
        inner = inner.__func__
    if not isinstance(inner, types.FunctionType):
        yield "", inner
        return
    for name, cell in zip(inner.__code__.co_freevars, inner.__closure__ or (), strict=True):
        try:
            yield name, cell.cell_contents
        except ValueError:  # not filled yet
            continue
    if runs_user_code(inner):
        for name in sorted(names_of(inner.__code__)[0] & inner.__globals__.keys()):
            yield name, inner.__globals__[name]


def is_function(value: Any) -> bool:
    """Whether a value is a function in one of its many forms, a jitted one included."""
    forms = (types.FunctionType, types.MethodType, functools.partial)
    return isinstance(value, forms) or is_class(value, "jitted")


def nnx_variables(module: Any) -> Iterator[tuple[str, Any]]:
    """Path -> variable, as the module itself holds it."""
    from flax import nnx

    for path, node in nnx.iter_graph(module):
        if isinstance(node, nnx.Variable):
            yield ".".join(map(str, path)), node


def nnx_modules(module: Any) -> Iterator[tuple[str, Any]]:
    """Path -> part, the module itself first."""
    from flax import nnx

    found = [(".".join(map(str, path)), node) for path, node in nnx.iter_modules(module)]
    yield from sorted(found, key=lambda pair: (pair[0].count("."), bool(pair[0]), pair[0]))


def nnx_attributes(part: Any) -> dict[str, Any]:
    """A part's configuration: its attributes without variables, parts, and what Flax keeps for itself."""
    from flax import nnx

    holds = (nnx.Variable, nnx.Module, nnx.Rngs, nnx.RngStream)
    return {
        name: value
        for name, value in vars(part).items()
        if not isinstance(value, holds) and not name.startswith(("_pytree", "_object", "_abc"))
    }


def linen_fields(module: Any) -> tuple[str, dict[str, Any]]:
    """A linen module's configuration: its class and its fields, those of the modules among them likewise."""
    fields = (field.name for field in dataclasses.fields(module) if field.name not in ("parent", "name"))
    return type(module).__qualname__, {name: _plain(getattr(module, name)) for name in fields}


def _plain(value: Any) -> Any:
    if is_class(value, "linen"):
        return linen_fields(value)
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value


def linen_classes(module: Any) -> list[type]:
    """The classes of a linen module and of the modules among its fields."""
    found = [type(module)]
    queue = [getattr(module, field.name, None) for field in dataclasses.fields(module) if field.name != "parent"]
    while queue:
        value = queue.pop()
        if is_class(value, "linen"):
            found += linen_classes(value)
        elif isinstance(value, (list, tuple)):
            queue += value
    return list(dict.fromkeys(found))
