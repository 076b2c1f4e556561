"""Functions that jax2onnx keeps as such (`@onnx_function`), those that it does not, and what it would not see.

It swaps each of them in the namespace of its module while it traces, so it misses what is called by another name. One
that its module has not got, because it was made within another function, stops every later export of the process: the
swap fails before it looks at the model.
"""

from __future__ import annotations

import inspect
import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_onnxprep.errors import ExporterError
from pytest_onnxprep.sources.jax_interpret import frames

if TYPE_CHECKING:
    from types import CodeType

_EXPORTS = itertools.count()


@contextmanager
def traced_anew() -> Iterator[None]:
    """Have JAX trace what is jitted as if it had never seen it, and forget it afterwards.

    Of one size, the reference has been traced before: jax2onnx would meet that program instead of the calls it swaps
    (`jax.nn.gelu`, functions), and the reference would meet jax2onnx's. Every trace is kept under the settings it was
    made with; metadata for XLA, which nothing here reads, is one of them.
    """
    from jax.experimental.xla_metadata import set_xla_metadata

    with set_xla_metadata(pytest_onnxprep=next(_EXPORTS)):
        yield


@contextmanager
def reachable_only() -> Iterator[None]:
    """Set the functions aside that jax2onnx cannot swap."""
    from jax2onnx.plugins.plugin_system import PLUGIN_REGISTRY

    aside = {name: plugin for name, plugin in PLUGIN_REGISTRY.items() if _out_of_reach(plugin)}
    for name in aside:
        del PLUGIN_REGISTRY[name]
    try:
        yield
    finally:
        PLUGIN_REGISTRY.update(aside)


def check_kept(model: Any, trace: Callable[[], Any]) -> None:
    """Hold a file to the functions that the model calls.

    Args:
        model: the file, with its functions.
        trace: gives the model's own program, as JAX has it.

    Raises:
        ExporterError: one of them was written out, as jax2onnx does without a word.
    """
    from jax2onnx.plugins.plugin_system import ONNX_FUNCTION_PLUGIN_REGISTRY

    kept = {function.name for function in model.functions}
    missing = {
        (code.co_filename, code.co_qualname): code
        for plugin in ONNX_FUNCTION_PLUGIN_REGISTRY.values()
        if plugin._friendly_name_base() not in kept and not plugin.target.__module__.startswith("jax2onnx.")
        if (code := _code(plugin.target)) is not None
    }
    for equation in _equations(trace().jaxpr) if missing else ():
        for file, _, name in frames(equation):
            code = missing.get((file, name))
            if code is not None:
                raise ExporterError(
                    f"exporter 'jax2onnx': the @onnx_function {name.removesuffix('.__call__')!r} "
                    f"({Path(file).name}:{code.co_firstlineno}) is called, but did not become a function of the file: "
                    "jax2onnx sees those only that are defined at the top of a module and called by their name there "
                    "(module.name elsewhere)"
                )


def _out_of_reach(plugin: Any) -> bool:
    from jax2onnx.plugins.plugin_system import FunctionPlugin

    if not isinstance(plugin, FunctionPlugin):
        return False
    if inspect.isclass(plugin.target):  # its __call__ is swapped, but of the first class of that name only
        return "<locals>" in plugin.target.__qualname__
    return not hasattr(inspect.getmodule(plugin.target), plugin.target.__name__)


def _code(target: Any) -> CodeType | None:
    """What runs when it is called."""
    function = target.__call__ if inspect.isclass(target) else target
    code: CodeType | None = getattr(inspect.unwrap(function), "__code__", None)
    return code


def _equations(program: Any) -> Iterator[Any]:
    """Those of a program, and of every program in their parameters: bodies of loops, branches, what is jitted."""
    for equation in program.eqns:
        yield equation
        for value in equation.params.values():
            for inner in value if isinstance(value, (tuple, list)) else (value,):
                held = getattr(inner, "jaxpr", inner)
                if hasattr(held, "eqns"):
                    yield from _equations(held)
