"""Walking through what JAX traced of a function, equation by equation."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

#: Parameters under which an equation holds the program it calls once, with its own inputs and outputs.
_CALLED = ("jaxpr", "call_jaxpr", "fun_jaxpr")
#: Equations that do nothing but call: a jitted function, a rule for derivatives, a checkpoint.
_CALLS = frozenset(
    {"jit", "pjit", "closed_call", "core_call", "core_closed_call", "custom_jvp_call", "custom_vjp_call"}
    | {"custom_vjp_call_jaxpr", "checkpoint", "remat", "remat2", "custom_lin"}
)


def closed_jaxpr(source: Any, signature: Any, arrays: Sequence[Any]) -> tuple[Any, list[str]]:
    """Trace a source at these inputs; the program, and the names of its outputs."""
    import jax

    inputs = list(signature.inputs)
    names: list[str] = []

    def flat(*given: Any) -> list[Any]:
        named = source.named(source.call(dict(zip(inputs, given, strict=True))), signature)
        names[:] = [name for name, _ in named]
        return [value for _, value in named]

    return jax.make_jaxpr(flat)(*arrays), names


def called(equation: Any) -> tuple[Any, Sequence[Any]] | None:
    """The program that an equation calls, with its constants; None for an operator."""
    if equation.primitive.name not in _CALLS:
        return None
    for key in _CALLED:
        program = equation.params.get(key)
        if program is not None:
            return open_jaxpr(program)
    return None


def open_jaxpr(program: Any) -> tuple[Any, Sequence[Any]]:
    """A program without its constants, and these."""
    return (program.jaxpr, program.consts) if hasattr(program, "consts") else (program, ())


#: ``(equation, its inputs) -> its outputs``
Step = Callable[[Any, list[Any]], Sequence[Any]]


def evaluate(jaxpr: Any, constants: Sequence[Any], arguments: Sequence[Any], step: Step, literal: Any) -> list[Any]:
    """Run a program.

    Args:
        jaxpr: it.
        constants: for its constant variables.
        arguments: for its inputs.
        step: runs one equation.
        literal: makes a value of a number in the program.
    """
    from jax.extend.core import Literal

    values: dict[Any, Any] = {}

    def read(variable: Any) -> Any:
        return literal(variable) if isinstance(variable, Literal) else values[variable]

    values.update(zip(jaxpr.constvars, constants, strict=True))
    values.update(zip(jaxpr.invars, arguments, strict=True))
    last = _last_uses(jaxpr)
    for position, equation in enumerate(jaxpr.eqns):
        made = step(equation, [read(variable) for variable in equation.invars])
        values.update(zip(equation.outvars, made, strict=True))
        for variable in last.get(position, ()):
            values.pop(variable, None)
    return [read(variable) for variable in jaxpr.outvars]


def _last_uses(jaxpr: Any) -> dict[int, list[Any]]:
    """Position of an equation -> the variables that nobody reads after it."""
    from jax.extend.core import Literal

    position_of: dict[Any, int] = {}
    for position, equation in enumerate(jaxpr.eqns):
        position_of.update((variable, position) for variable in equation.invars if not isinstance(variable, Literal))
    for variable in jaxpr.outvars:
        if not isinstance(variable, Literal):
            position_of.pop(variable, None)
    last: dict[int, list[Any]] = {}
    for variable, position in position_of.items():
        last.setdefault(position, []).append(variable)
    return last


def bind(equation: Any, inputs: Sequence[Any], parameters: dict[str, Any] | None = None) -> Sequence[Any]:
    """Run one equation as JAX would, with other parameters where they are given."""
    primitive = equation.primitive
    given = primitive.get_bind_params(equation.params if parameters is None else parameters)
    functions, given = given if isinstance(given, tuple) else ([], given)  # a tuple before JAX 0.9
    with equation.ctx.manager:
        made = primitive.bind(*functions, *inputs, **given)
    return list(made) if primitive.multiple_results else [made]


def frames(equation: Any) -> Iterator[tuple[str, int, str]]:
    """File, line and function of every Python frame that led to an equation, innermost first."""
    traceback = equation.source_info.traceback
    for frame in traceback.frames if traceback is not None else ():
        yield frame.file_name, frame.line_num, frame.function_name
