"""The shape language: ``"float32[batch, 3, h // 4, past + seq]"``.

Grammar (in the spirit of jaxtyping, with arithmetic)::

    tensor  = dtype "[" [dim {"," dim}] "]"
    dim     = product {("+" | "-") product}
    product = atom {("*" | "//" | "%") atom}
    atom    = integer | name | "(" dim ")"
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NoReturn

from pytest_onnxprep.spec.errors import SpecError, closest

DTYPES = (
    "float16",
    "bfloat16",
    "float32",
    "float64",
    "int8",
    "int16",
    "int32",
    "int64",
    "uint8",
    "uint16",
    "uint32",
    "uint64",
    "bool",
    "string",
)

_TOKEN = re.compile(r"\s*(?:(?P<int>\d+)|(?P<name>[A-Za-z_]\w*)|(?P<op>//|[+\-*%()\[\],]))")
_PRECEDENCE = {"+": 1, "-": 1, "*": 2, "//": 2, "%": 2}

# An expression is an int, a name, or (operator, left, right).
Node = int | str | tuple[str, "Node", "Node"]


@dataclass(frozen=True)
class DimExpr:
    """One dim of a shape: a constant, a named dim, or arithmetic over them."""

    node: Node

    @property
    def names(self) -> tuple[str, ...]:
        """Named dims in order of appearance, each once."""
        found: dict[str, None] = {}
        _collect(self.node, found)
        return tuple(found)

    @property
    def is_static(self) -> bool:
        """Whether the dim is the same for every example."""
        return not self.names

    def evaluate(self, sizes: Mapping[str, int]) -> int:
        """Return the size for these named sizes.

        Raises:
            SpecError: a name has no size, or the arithmetic divides by zero.
        """
        return _evaluate(self.node, sizes)

    def __str__(self) -> str:
        return _text(self.node, 0)


@dataclass(frozen=True)
class TensorType:
    """A parsed ``dtype[dims]``."""

    dtype: str
    dims: tuple[DimExpr, ...]

    def __str__(self) -> str:
        return f"{self.dtype}[{', '.join(map(str, self.dims))}]"


def parse_tensor(text: str) -> TensorType:
    """Parse ``"float32[batch, 3]"``.

    Raises:
        SpecError: with the column and what is accepted there.
    """
    parser = _Parser(text)
    dtype = parser.dtype()
    parser.expect("[", "the dims in brackets, as in 'float32[batch, 3]' ('float32[]' is a scalar)")
    dims = parser.dims("]")
    parser.expect("]", "',' or ']' after a dim")
    parser.end()
    return TensorType(dtype, dims)


def parse_dims(text: str) -> tuple[DimExpr, ...]:
    """Parse ``"batch, 3, h // 4"`` (brackets around it are optional)."""
    parser = _Parser(text)
    bracketed = parser.accept("[")
    dims = parser.dims("]" if bracketed else None)
    if bracketed:
        parser.expect("]", "',' or ']' after a dim")
    parser.end()
    return dims


def parse_dim(text: str) -> DimExpr:
    """Parse one dim expression."""
    parser = _Parser(text)
    dim = parser.dim()
    parser.end()
    return dim


def check_dtype(dtype: str) -> str:
    """Return ``dtype`` if it is one of `DTYPES`, else raise `SpecError`."""
    if dtype not in DTYPES:
        raise SpecError(f"unknown dtype {dtype!r}{closest(dtype, DTYPES)} Accepted: {', '.join(DTYPES)}.")
    return dtype


class _Parser:
    """Recursive descent over one short string, with the column in every error."""

    def __init__(self, text: str) -> None:
        if not isinstance(text, str):
            raise SpecError(f"a shape is a string such as 'float32[batch, 3]', not {type(text).__name__} {text!r}")
        self.text = text
        self.tokens: list[tuple[str, str, int]] = []
        position = 0
        end = len(text.rstrip())
        while position < end:
            match = _TOKEN.match(text, position)
            if match is None:
                column = position + len(text[position:]) - len(text[position:].lstrip())
                self.fail(column, _hint(text[column:]))
            kind = str(match.lastgroup)
            self.tokens.append((kind, match.group(kind), match.start(kind)))
            position = match.end()
        self.tokens.append(("end", "", len(text)))
        self.index = 0

    def fail(self, column: int, message: str) -> NoReturn:
        raise SpecError(f"malformed shape, column {column + 1}: {message}\n    {self.text}\n    {' ' * column}^")

    def accept(self, value: str) -> bool:
        kind, text, _ = self.tokens[self.index]
        if kind == "op" and text == value:
            self.index += 1
            return True
        return False

    def expect(self, value: str, wanted: str) -> None:
        if not self.accept(value):
            kind, text, column = self.tokens[self.index]
            found = "the end" if kind == "end" else repr(text)
            self.fail(column, f"expected {wanted}, found {found}")

    def end(self) -> None:
        kind, text, column = self.tokens[self.index]
        if kind != "end":
            self.fail(column, f"nothing may follow here, found {text!r}")

    def dtype(self) -> str:
        kind, text, column = self.tokens[self.index]
        if kind != "name":
            self.fail(column, "expected a dtype first, as in 'float32[batch, 3]'")
        if text not in DTYPES:
            self.fail(column, f"unknown dtype {text!r}{closest(text, DTYPES)} Accepted: {', '.join(DTYPES)}.")
        self.index += 1
        return text

    def dims(self, closing: str | None) -> tuple[DimExpr, ...]:
        kind, text, _ = self.tokens[self.index]
        if kind == "end" or (kind == "op" and text == closing):
            return ()
        found = [self.dim()]
        while self.accept(","):
            found.append(self.dim())
        return tuple(found)

    def dim(self) -> DimExpr:
        return DimExpr(self.sum())

    def sum(self) -> Node:
        node = self.product()
        while True:
            for operator in ("+", "-"):
                if self.accept(operator):
                    node = (operator, node, self.product())
                    break
            else:
                return node

    def product(self) -> Node:
        node = self.atom()
        while True:
            for operator in ("*", "//", "%"):
                if self.accept(operator):
                    node = (operator, node, self.atom())
                    break
            else:
                return node

    def atom(self) -> Node:
        kind, text, column = self.tokens[self.index]
        self.index += kind != "end"
        if kind == "int":
            return int(text)
        if kind == "name":
            return text
        if kind != "op" or text != "(":
            found = "the end" if kind == "end" else repr(text)
            wanted = "a dim (an integer, a name, or an expression such as 'past + seq')"
            self.fail(column, f"expected {wanted}, found {found}")
        node = self.sum()
        self.expect(")", "')'")
        return node


def _hint(rest: str) -> str:
    if rest.startswith("..."):
        return "'...' is not accepted: give every dim a name or a size"
    if rest.startswith("/"):
        return "'/' is not accepted: use '//' (integer division)"
    if rest[0] in "?:":
        return f"{rest[0]!r} is not accepted: give a dynamic dim a name"
    return f"{rest[0]!r} is not part of the shape language (integers, names, + - * // % and parentheses)"


def _collect(node: Node, found: dict[str, None]) -> None:
    if isinstance(node, str):
        found[node] = None
    elif isinstance(node, tuple):
        _collect(node[1], found)
        _collect(node[2], found)


def _evaluate(node: Node, sizes: Mapping[str, int]) -> int:
    if isinstance(node, int):
        return node
    if isinstance(node, str):
        if node not in sizes:
            raise SpecError(f"no size for dim {node!r}; sizes given: {', '.join(sizes) or 'none'}")
        return sizes[node]
    operator, left, right = node
    a, b = _evaluate(left, sizes), _evaluate(right, sizes)
    if operator == "+":
        return a + b
    if operator == "-":
        return a - b
    if operator == "*":
        return a * b
    if b == 0:
        raise SpecError(f"division by zero in dim expression '{_text(node, 0)}' at {dict(sizes)}")
    return a // b if operator == "//" else a % b


def _text(node: Node, outer: int) -> str:
    if not isinstance(node, tuple):
        return str(node)
    operator, left, right = node
    inner = _PRECEDENCE[operator]
    # The right side binds one tighter: a - (b - c) keeps its parentheses.
    text = f"{_text(left, inner)} {operator} {_text(right, inner + 1)}"
    return f"({text})" if inner < outer else text
