"""Texts of sizes and of conditions in a ``.pt2`` file: torch evaluates them as Python, so they must be arithmetic."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable
from typing import Any

#: Functions that the text of a size may call: torch hands it to SymPy, which hands it to ``eval``.
_EXPRESSIONS = frozenset(
    re.findall(
        r"\w+",
        """
    Symbol Integer Rational Float Add Mul Pow Mod Max Min Abs And Or Not Eq Equality Ne Unequality Lt
    Le Gt Ge StrictLessThan LessThan StrictGreaterThan GreaterThan Piecewise ExprCondPair Tuple
    PythonMod FloorDiv ModularIndexing Where CleanDiv CeilDiv CeilToInt FloorToInt IntTrueDiv
    FloatTrueDiv TruncToInt RoundToInt RoundDecimal ToFloat Identity FloatPow PowByNatural LShift
    RShift IsNonOverlappingAndDenseIndicator TruncToFloat OpaqueUnaryFn_sqrt NegativeOne One Zero
    int_oo oo true false True False
    """,
    )
)
#: ``Float('1.5', precision=53)``.
_NUMBER = re.compile(r"-?[0-9.]+(e[+-]?[0-9]+)?")
#: What a guard may call besides, by name, of a module, and of an input.
_FUNCTIONS = _EXPRESSIONS | frozenset(
    ("max", "min", "abs", "round", "bool", "int", "float", "cast_symbool_to_symint_guardless")
)
_MATHS = re.compile(r"a?(sin|cos|tan)h?|floor|ceil|trunc|sqrt|pow|log2?|exp|inf|nan|isnan|isinf|pi|e")
_SYMBOLIC = re.compile(r"_?sym_[a-z0-9_]+")
_METHODS = frozenset(("size", "stride", "storage_offset", "dim", "numel", "item"))
_OWN = frozenset(("_parameters", "_buffers", "_modules"))
_GUARD = (
    *(ast.Expression, ast.BoolOp, ast.UnaryOp, ast.BinOp, ast.Compare, ast.IfExp, ast.Constant),
    *(ast.Call, ast.Attribute, ast.Subscript, ast.Name, ast.expr_context, ast.boolop, ast.operator, ast.unaryop),
    ast.cmpop,
)
#: A text that cannot end the quotes it is put into.
PLAIN = re.compile(r"[^\x00-\x1f\x7f\"'\\]{0,1000}")


def is_arithmetic(text: str) -> bool:
    """Whether an expression is nothing but numbers, symbols and SymPy's own arithmetic."""
    for node in _nodes(text):
        if isinstance(node, ast.Call):
            if not isinstance(node.func, ast.Name) or node.func.id not in _EXPRESSIONS:
                return False
        elif isinstance(node, ast.Name):
            if node.id not in _EXPRESSIONS and not _is_symbol(node.id):
                return False
        elif isinstance(node, ast.Constant):
            if isinstance(node.value, str) and not (node.value.isidentifier() or _NUMBER.fullmatch(node.value)):
                return False
        elif node is None or isinstance(
            node, ast.Attribute | ast.Subscript | ast.Lambda | ast.comprehension | ast.JoinedStr
        ):
            return False
    return True


def is_guard(text: str) -> bool:
    """Whether a guard is a comparison of sizes and values of inputs: ``L['x'].size()[0] >= 3``."""
    for node in _nodes(text):
        if not isinstance(node, _GUARD):
            return False
        if isinstance(node, ast.Call):
            if node.keywords or not _is_function(node.func) or any(isinstance(arg, ast.Starred) for arg in node.args):
                return False
        elif isinstance(node, ast.Subscript):
            if not isinstance(node.slice, ast.Constant | ast.UnaryOp) or not _of_input(node):
                return False
        elif isinstance(node, ast.Attribute):
            if not _of_input(node) and not _is_function(node):
                return False
        elif isinstance(node, ast.Name):
            if node.id not in ("L", "math", "torch", "inf") and node.id not in _FUNCTIONS:
                return False
        elif isinstance(node, ast.BinOp):
            if isinstance(node.op, ast.Pow | ast.LShift) and not _is_small(node.right):
                return False
            if any(isinstance(side, ast.Constant) and isinstance(side.value, str) for side in (node.left, node.right)):
                return False
        elif isinstance(node, ast.Constant):
            number = node.value is None or isinstance(node.value, int | float)
            if not number and not (isinstance(node.value, str) and PLAIN.fullmatch(node.value)):
                return False
    return True


def _nodes(text: str) -> Iterable[Any]:
    """The nodes of an expression; None where it is none."""
    try:
        return ast.walk(ast.parse(text, mode="eval"))
    except (SyntaxError, ValueError, TypeError, RecursionError, MemoryError):
        return (None,)


def _is_function(node: ast.expr) -> bool:
    if isinstance(node, ast.Name):
        return node.id in _FUNCTIONS
    if not isinstance(node, ast.Attribute):
        return False
    if isinstance(node.value, ast.Name) and node.value.id in ("math", "torch"):
        return bool((_MATHS if node.value.id == "math" else _SYMBOLIC).fullmatch(node.attr))
    return node.attr in _METHODS and _of_input(node.value)


def _of_input(node: ast.expr) -> bool:
    """Whether an expression starts from ``L``, the table of inputs, and goes by public names from there."""
    while not isinstance(node, ast.Name):
        if isinstance(node, ast.Call):
            node = node.func
        elif isinstance(node, ast.Subscript):
            node = node.value
        elif isinstance(node, ast.Attribute):
            if node.attr.startswith("_") and node.attr not in _OWN:
                return False
            node = node.value
        else:
            return False
    return node.id == "L"


def _is_symbol(name: str) -> bool:
    """``s0``, ``u3``: what torch calls a size."""
    return name[:1] in ("s", "u", "z", "f") and name[1:].isdigit()


def _is_small(node: ast.expr) -> bool:
    """Whether an exponent cannot make a number that takes all memory."""
    return isinstance(node, ast.Constant) and isinstance(node.value, int | float) and abs(node.value) <= 64
