"""What an exporter took for granted about sizes, and which declared sizes that leaves out.

An assumption is no fault by itself: the graph is often right all the same. It says where to look first, and why a size
that fails does.
"""

from __future__ import annotations

import ast
import itertools
import math
import operator
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pytest_onnxprep.spec.dims import Dim
from pytest_onnxprep.spec.signature import Signature

#: Most sizes of one dim, and most combinations of several, that are looked at.
_MOST_SIZES = 128
_MOST_COMBINATIONS = 4096
#: Most assumptions kept of one export.
_MOST_NOTED = 32
#: Characters of a guard in a message.
_LONGEST = 120

_BINARY: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Div: operator.truediv,
}
_COMPARED: dict[type[ast.cmpop], Callable[[Any, Any], bool]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}
_CALLED: dict[str, Callable[..., Any]] = {
    "min": min,
    "max": max,
    "abs": abs,
    "float": float,
    "int": int,
    "math.trunc": math.trunc,
    "math.floor": math.floor,
    "math.ceil": math.ceil,
    "torch.sym_float": float,
    "torch.sym_int": int,
}


@dataclass(frozen=True)
class Assumption:
    """What an exporter assumed while it traced.

    Args:
        guard: a condition over named dims, in Python: ``batch <= 4``.
        file: where in the model's code it was made, or an empty string where only the exporter knows.
        line: its line.
        function: the function around it.
        code: the text of the line.
    """

    guard: str
    file: str = ""
    line: int = 0
    function: str = ""
    code: str = ""


def narrowed(assumptions: Iterable[Assumption], signature: Signature) -> list[dict[str, Any]]:
    """The assumptions that some declared sizes do not meet, ready for the provenance.

    Those of one line of the model become one. ``try`` holds sizes outside the assumption, the smallest and the
    largest found; ``minor`` marks what leaves out nothing but sizes 0 and 1, as tracers do everywhere.
    """
    lines: dict[tuple[str, int], list[Assumption]] = {}
    for assumption in assumptions:
        if _excluded(assumption.guard, signature) is not None:
            lines.setdefault((assumption.file, assumption.line), []).append(assumption)
    records = []
    for (file, line), found in lines.items():
        guard = _conjunction([assumption.guard for assumption in found])
        excluded = _excluded(guard, signature)
        if excluded is None:
            continue
        dims = [name for name in signature.dims if name in names_of(guard)]
        records.append(
            {
                "guard": guard,
                "declared": {name: str(signature.dims[name]) for name in dims},
                "file": file,
                "line": line,
                "function": found[0].function,
                "code": found[0].code,
                "try": excluded,
                "minor": all(min(sizes.values()) < 2 for sizes in excluded),
            }
        )
    records.sort(key=lambda record: bool(record["minor"]))
    return records[:_MOST_NOTED]


def breached(provenance: Mapping[str, Any], sizes: Mapping[str, int]) -> list[dict[str, Any]]:
    """The recorded assumptions of an export that these sizes do not meet: why a failure at them is one."""
    found = []
    for record in provenance.get("narrowed", ()):
        try:
            if not holds(record["guard"], sizes):
                found.append(record)
        except (ValueError, ArithmeticError, SyntaxError):
            continue
    return found


def words(record: Mapping[str, Any]) -> str:
    """One assumption as a message shows it: ``batch <= 4 (net.py:12 in forward: if x.shape[0] > 4:)``."""
    guard = record["guard"]
    guard = guard if len(guard) <= _LONGEST else f"{guard[: _LONGEST - 1]}…"
    if not record["file"]:
        return f"{guard} (in the exporter's own code)"
    code = f": {record['code']}" if record["code"] else ""
    return f"{guard} ({place(record)}{code})"


def place(record: Mapping[str, Any]) -> str:
    """Where the model's code made an assumption: ``net.py:12 in forward``."""
    return f"{Path(record['file']).name}:{record['line']} in {record['function']}"


def holds(guard: str, sizes: Mapping[str, int]) -> bool:
    """Whether a guard holds at these sizes.

    Raises:
        ValueError: the guard is more than arithmetic over the sizes given.
        ArithmeticError: it divides by zero there.
        SyntaxError: it is no expression.
    """
    return bool(_value(ast.parse(guard, mode="eval").body, sizes))


def names_of(guard: str) -> set[str]:
    """The dims a guard speaks of."""
    tree = ast.parse(guard, mode="eval")
    called = {id(part) for node in ast.walk(tree) if isinstance(node, ast.Call) for part in ast.walk(node.func)}
    return {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and id(node) not in called}


def _conjunction(guards: list[str]) -> str:
    unique = list(dict.fromkeys(guards))
    if len(unique) == 1:
        return unique[0]
    return " and ".join(f"({guard})" if " or " in guard else guard for guard in unique)


def _excluded(guard: str, signature: Signature) -> list[dict[str, int]] | None:
    """Declared sizes that a guard leaves out (the smallest and the largest), or None where it leaves out none.

    What cannot be evaluated leaves out nothing: it is not told of, rather than told of wrongly.
    """
    try:
        names = names_of(guard)
        if not names or not names <= set(signature.dims):
            return None
        dims = {name: signature.dims[name] for name in sorted(names)}
        found = [sizes for sizes in _combinations(dims, _numbers(guard)) if not _met(guard, sizes)]
    except (ValueError, SyntaxError):
        return None
    if not found:
        return None
    larger = [sizes for sizes in found if min(sizes.values()) >= 2] or found
    chosen = [larger[0], larger[-1]]
    return [sizes for index, sizes in enumerate(chosen) if sizes not in chosen[:index]]


def _met(guard: str, sizes: Mapping[str, int]) -> bool:
    try:
        return holds(guard, sizes)
    except ArithmeticError:  # nothing is known there
        return True


def _combinations(dims: Mapping[str, Dim], numbers: set[int]) -> Iterator[dict[str, int]]:
    """Sizes of several dims, smallest first."""
    most = min(_MOST_SIZES, int(_MOST_COMBINATIONS ** (1 / len(dims))))
    ranges = [_sizes(dim, numbers, most) for dim in dims.values()]
    for sizes in sorted(itertools.product(*ranges), key=sum):
        yield dict(zip(dims, sizes, strict=True))


def _sizes(dim: Dim, numbers: set[int], most: int) -> list[int]:
    """All sizes of a small range; of a large one both ends, and what lies about the numbers of the guard."""
    step = dim.multiple_of
    every = range(dim.smallest, dim.largest + 1, step)
    if len(every) <= most:
        return list(every)
    near = {near // step * step for number in numbers for near in (number - step, number, number + step)}
    chosen = {*every[: most // 2], *every[-2:], *every[:: -(-len(every) // (most // 4))]} | near
    return sorted(size for size in chosen if size in dim)[: most - 2] + list(every[-2:])


def _numbers(guard: str) -> set[int]:
    return {
        node.value
        for node in ast.walk(ast.parse(guard, mode="eval"))
        if isinstance(node, ast.Constant) and isinstance(node.value, int)
    }


def _value(node: ast.expr, sizes: Mapping[str, int]) -> Any:
    match node:
        case ast.Constant(value=int() | float() as value):
            return value
        case ast.Name(id=name) if name in sizes:
            return sizes[name]
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _BINARY:
            return _BINARY[type(op)](_value(left, sizes), _value(right, sizes))
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return -_value(operand, sizes)
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            return not _value(operand, sizes)
        case ast.BoolOp(op=ast.And(), values=values):
            return all(_value(value, sizes) for value in values)
        case ast.BoolOp(op=ast.Or(), values=values):
            return any(_value(value, sizes) for value in values)
        case ast.Compare(left=left, ops=ops, comparators=others) if all(type(op) in _COMPARED for op in ops):
            sides = [_value(side, sizes) for side in (left, *others)]
            pairs = zip(ops, sides[:-1], sides[1:], strict=True)
            return all(_COMPARED[type(op)](one, other) for op, one, other in pairs)
        case ast.Call(func=func, args=arguments, keywords=[]) if ast.unparse(func) in _CALLED:
            return _CALLED[ast.unparse(func)](*(_value(argument, sizes) for argument in arguments))
    raise ValueError(f"{ast.unparse(node)} is no arithmetic over {', '.join(sizes)}")
