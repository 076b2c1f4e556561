"""A JAX program in float64: its own rounding error is what it differs by."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from pytest_onnxprep.sources.base import Arrays, Double, Feeds
from pytest_onnxprep.sources.jax_interpret import bind, called, closed_jaxpr, evaluate, open_jaxpr
from pytest_onnxprep.spec.signature import Signature

if TYPE_CHECKING:
    from pytest_onnxprep.sources.jax_function import JaxSource

_NARROW = frozenset({"float32", "float16", "bfloat16"})
#: Above this no copy is made: it takes twice the memory of the model.
_LARGEST_BYTES = 2_000_000_000
#: Compiled programs kept, one for each combination of sizes.
_KEPT = 64


class _NoDouble(Exception):
    """Something that has no meaning in float64: bits are reinterpreted."""


def make_double(source: JaxSource, signature: Signature) -> Double | None:
    """The traced program with every float widened, as ``feeds -> outputs``; None where it is too large.

    Traced as the model is, in its own precision, at the sizes of the inputs; then every float constant, every dtype
    that an operator is told and every program inside an operator becomes float64, and the result runs under x64.

    Args:
        source: of the model, which stays as it is.
        signature: input names and output names.
    """
    if sum(getattr(array, "nbytes", 0) for array in source.weights().values()) > _LARGEST_BYTES:
        return None
    made: dict[Any, Callable[[Feeds], Arrays] | None] = {}

    def run(feeds: Feeds) -> Arrays | None:
        key = tuple(array.shape for array in feeds.values())
        try:
            if key not in made:
                while len(made) >= _KEPT:
                    del made[next(iter(made))]
                made[key] = None
                made[key] = _compiled(source, signature, feeds)
            compiled = made[key]
            return None if compiled is None else compiled(feeds)
        except Exception:  # no verdict: whatever cannot be said in float64 is not our finding
            return None

    return run


def _compiled(source: JaxSource, signature: Signature, feeds: Feeds) -> Callable[[Feeds], Arrays]:
    import jax

    from pytest_onnxprep.sources.jax_function import enable_x64, on_cpu, precision, to_jax

    with precision(signature), on_cpu():
        arrays = [to_jax(name, feeds[name]) for name in signature.inputs]
        program, names = closed_jaxpr(source, signature, arrays)
    with enable_x64(True), on_cpu():
        constants = [_wide(value) for value in program.consts]
        compiled = jax.jit(lambda constants, inputs: _evaluate(program.jaxpr, constants, inputs))
        compiled = compiled.lower(constants, [_wide(array) for array in arrays]).compile()

    def run(feeds: Feeds) -> Arrays:
        with enable_x64(True), on_cpu():
            outputs = compiled(constants, [_wide(to_jax(name, feeds[name])) for name in signature.inputs])
            return {name: np.array(value) for name, value in zip(names, outputs, strict=True)}

    return run


def _evaluate(jaxpr: Any, constants: Sequence[Any], inputs: Sequence[Any]) -> list[Any]:
    return evaluate(jaxpr, constants, inputs, _step, _literal)


def _step(equation: Any, inputs: list[Any]) -> Sequence[Any]:
    inside = called(equation)
    if inside is not None:
        jaxpr, constants = inside
        return _evaluate(jaxpr, [_wide(value) for value in constants], inputs)
    if "bitcast" in equation.primitive.name or equation.primitive.name in ("reduce_precision", "nextafter"):
        raise _NoDouble(equation.primitive.name)
    return bind(equation, inputs, {key: _wide_parameter(value) for key, value in equation.params.items()})


def _literal(variable: Any) -> Any:
    """A number in the program, of the dtype it is used in."""
    import jax.numpy as jnp

    return jnp.asarray(variable.val, dtype=_wide_dtype(variable.aval.dtype))


def _wide(value: Any) -> Any:
    import jax.numpy as jnp

    wide = str(getattr(value, "dtype", "")) in _NARROW
    return jnp.asarray(value, dtype=np.float64) if wide else value


def _wide_dtype(dtype: Any) -> Any:
    return np.dtype(np.float64) if str(dtype) in _NARROW else dtype


def _wide_parameter(value: Any) -> Any:
    """A parameter of an operator: dtypes and programs are widened, wherever they stand in it."""
    from jax.extend.core import ClosedJaxpr, Jaxpr

    if isinstance(value, ClosedJaxpr):
        return _wide_program(value)
    if isinstance(value, Jaxpr):
        return _wide_program(value).jaxpr
    if isinstance(value, np.dtype) or (isinstance(value, type) and issubclass(value, np.generic)):
        return _wide_dtype(np.dtype(value))
    if type(value) in (tuple, list):
        return type(value)(map(_wide_parameter, value))
    return value


def _wide_program(program: Any) -> Any:
    """The program inside a loop, a branch or a reduction, traced anew with wide values."""
    import jax

    jaxpr, constants = open_jaxpr(program)
    wide = [_wide(value) for value in constants]
    shapes = [
        jax.ShapeDtypeStruct(variable.aval.shape, _wide_dtype(variable.aval.dtype), weak_type=variable.aval.weak_type)
        for variable in jaxpr.invars
    ]
    return jax.make_jaxpr(lambda *inputs: _evaluate(jaxpr, wide, inputs))(*shapes)
