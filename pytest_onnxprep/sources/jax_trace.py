"""What JAX computes on the way: every equation of the traced program, run one after the other."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pytest_onnxprep.sources.jax_interpret import bind, called, closed_jaxpr, evaluate, frames
from pytest_onnxprep.sources.load import one_line
from pytest_onnxprep.sources.trace import Limits, Trace, Traced, digest, first_user_frame
from pytest_onnxprep.spec.signature import Signature

if TYPE_CHECKING:
    from pytest_onnxprep.sources.base import Feeds
    from pytest_onnxprep.sources.jax_function import JaxSource

#: A weight keeps its name through these: the layer that reshapes it is the layer that uses it.
_SAME_WEIGHT = frozenset({"reshape", "transpose", "broadcast_in_dim", "squeeze", "convert_element_type", "copy"})


def trace(source: JaxSource, feeds: Feeds, signature: Signature, limits: Limits) -> Trace:
    """Run the model's program and record it.

    Args:
        source: of the model.
        feeds: its inputs.
        signature: names the outputs.
        limits: when recording ends.
    """
    from pytest_onnxprep.sources.jax_function import on_cpu, precision, to_jax

    with precision(signature), on_cpu():
        arrays = [to_jax(name, feeds[name]) for name in signature.inputs]
        try:
            program, _ = closed_jaxpr(source, signature, arrays)
        except Exception as error:  # runs eagerly, but JAX cannot trace it: it writes to its own state, say
            return Trace(complete=False, why=f"JAX cannot trace the model: {one_line(error)}")
        recorder = _Recorder(limits)
        weights = {id(array): path for path, array in source.weights().items()}
        constants = [recorder.given(value, "weight", weights.get(id(value), "")) for value in program.consts]
        inputs = [recorder.given(array, "input", name) for name, array in zip(signature.inputs, arrays, strict=True)]
        try:
            recorder.run(program.jaxpr, constants, inputs, "")
        except _Enough:
            return recorder.trace("the framework's trace ran out of time or memory")
    return recorder.trace("")


class _Enough(Exception):
    """Time or memory has run out."""


class _Value:
    """A value on its way through the program.

    Attributes:
        array: it.
        place: its position in the trace, or None where it has no digest.
        weight: the path of the weight it is, reshaped or not.
    """

    __slots__ = ("array", "place", "weight")

    def __init__(self, array: Any, place: int | None = None, weight: str = "") -> None:
        self.array, self.place, self.weight = array, place, weight


class _Recorder:
    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.foreign = _foreign()
        self.deadline = time.monotonic() + limits.max_s
        self.values: list[Traced] = []
        self.whole: dict[int, np.ndarray] = {}
        self.kept = 0

    def trace(self, why: str) -> Trace:
        return Trace(tuple(self.values), not why, why, self.whole)

    def given(self, array: Any, operator: str, name: str) -> _Value:
        """Record a weight or an input."""
        place = self.record(array, operator, name=name)
        return _Value(array, place, (name or "?") if operator == "weight" else "")

    def run(self, jaxpr: Any, constants: Sequence[Any], inputs: Sequence[Any], line: str) -> list[Any]:
        """Run a program; ``line`` is the user's where the code behind it is a library's."""

        def step(equation: Any, given: list[Any]) -> Sequence[Any]:
            here = line or user_line(equation)
            inside = called(equation)
            if inside is not None:
                program, consts = inside
                own = not self.is_foreign(program)
                return self.run(program, [_Value(value) for value in consts], given, "" if own and not line else here)
            if time.monotonic() > self.deadline or self.kept > self.limits.max_bytes:
                raise _Enough
            return self.step(equation, given, here)

        return evaluate(jaxpr, constants, inputs, step, lambda variable: _Value(variable.val))

    def step(self, equation: Any, given: list[_Value], line: str) -> list[_Value]:
        """Run one equation and record what it made."""
        made = bind(equation, [value.array for value in given])
        operator = equation.primitive.name
        named = [value.weight for value in given if value.weight]
        passed = named[0] if named and operator in _SAME_WEIGHT and len(named) == len(given) else ""
        scope = str(equation.source_info.name_stack)
        used = next((name for name in named if name != "?"), "")
        layer = scope or used.rpartition(".")[0].replace(".", "/")
        inputs = tuple(value.place for value in given if value.place is not None)
        kind = self.layer_kind(equation)
        found = []
        for array in made:
            place = self.record(array, "weight" if passed else operator, passed, layer, kind, line, inputs)
            found.append(_Value(array, place, passed))
        return found

    def record(
        self,
        array: Any,
        operator: str,
        name: str = "",
        layer: str = "",
        kind: str = "",
        line: str = "",
        inputs: tuple[int, ...] = (),
    ) -> int | None:
        """Add a value; its position, or None where it has no digest."""
        try:
            plain = np.asarray(array)
        except TypeError:  # a PRNG key
            return None
        made = digest(plain)
        if made is None:
            return None
        place = len(self.values)
        if place in self.limits.keep:
            self.whole[place] = plain
        self.kept += made.sample.nbytes
        self.values.append(Traced(made, operator, name.strip("?"), layer, kind, line, inputs))
        return place

    def layer_kind(self, equation: Any) -> str:
        """The class of the innermost module whose call an equation comes from."""
        for file, _, function in frames(equation):
            if function.endswith(".__call__") and not file.startswith(self.foreign[:1]):
                return function.removesuffix(".__call__").rpartition(".")[2]
        return ""

    def is_foreign(self, jaxpr: Any) -> bool:
        """Whether a called program is a library's, whose lines are those of its very first caller."""
        file = str(getattr(jaxpr.debug_info, "func_filename", None) or "")
        return not file or file.startswith(("<", *self.foreign))


def user_line(equation: Any) -> str:
    """The user's line that an equation comes from, or an empty string."""
    return first_user_frame(((file, line) for file, line, _ in frames(equation)), _foreign())


def user_layer(equation: Any) -> str:
    """The scope or the class of the module that an equation comes from, or an empty string."""
    scope = str(equation.source_info.name_stack)
    libraries = _foreign()
    for file, _, function in frames(equation):
        if function.endswith(".__call__") and not file.startswith(libraries):
            kind = function.removesuffix(".__call__").rpartition(".")[2]
            return f"'{scope}' ({kind})" if scope else kind
    return f"'{scope}'" if scope else ""


def _foreign() -> tuple[str, ...]:
    """Where the libraries lie whose lines are nobody's; JAX first."""
    modules = (sys.modules.get(name) for name in ("jax", "flax", "equinox", "jax2onnx"))
    files = (getattr(module, "__file__", None) for module in modules)
    return tuple(str(Path(file).parent) + os.sep for file in files if file)
