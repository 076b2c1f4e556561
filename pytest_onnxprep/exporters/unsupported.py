"""Operators that an exporter has no translation for: which, in what layer, at whose line, and the three ways out.

Read from what the exporter held when it gave up: the frames of its error still have the graph, so that all such
operators are told at once and not one per attempt.
"""

from __future__ import annotations

import os
import re
import traceback
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from pytest_onnxprep.errors import ExportFailed
from pytest_onnxprep.sources.module_origin import Origin, origin_of_path
from pytest_onnxprep.sources.trace import source_line
from pytest_onnxprep.spec.verdict import CheckResult, Verdict

_MOST = 12
_PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep
#: `File "net.py", line 7` of torch.export and of scripted code, `net.py(7): forward` of the TorchScript tracer.
_STACK = re.compile(r'File "([^"]+)", line (\d+)|^\s*(\S[^\n]*?)\((\d+)\): ', re.M)
#: `model/Spectrum::spec` of a TorchScript scope: class and name of the module.
_SCOPE = re.compile(r"[^/]*?([\w<>]+)::([\w.]+)")

#: Operators that draw random numbers, as TensorFlow, torch and JAX call them.
_RANDOM = re.compile(r"random|bernoulli|multinomial|poisson|threefry", re.I)

#: How a translation is given to each exporter.
_TRANSLATE = {
    "dynamo": "options={{'custom_translation_table': {{torch.ops.{dotted}: function}}}}, a function of ONNX operators",
    "transformers": "exporter='dynamo' with options={{'custom_translation_table': {{torch.ops.{dotted}: function}}}}",
    "torchscript": "options={{'symbolics': {{'{name}': lambda g, *inputs: g.op(...)}}}}",
    "tf2onnx": "options={{'custom_op_handlers': {{'{name}': (handler, [])}}}}",
    "jax2onnx": "options={{'plugins': {{'{name}': Plugin}}}}, a jax2onnx PrimitiveLeafPlugin",
}


@dataclass(frozen=True)
class Operator:
    """One operator without a translation.

    Args:
        name: as the exporter's own options call it.
        layer: the path and class of the module that uses it first, or an empty string.
        line: the user's line of that use, or an empty string.
        count: how often it occurs.
    """

    name: str
    layer: str = ""
    line: str = ""
    count: int = 1

    def where(self) -> str:
        """``in layer 'spec' (Spectrum) at net.py:7``; what is not known is left out."""
        layer = f" in layer {self.layer}" if self.layer else ""
        place = self.line.partition("  ")[0]
        return f"{layer}{f' at {place}' if place else ''}"


class UnsupportedOperatorsError(Exception):
    """An exporter's own: what it could not translate.

    Args:
        said: in the converter's words.
        operators: the ones concerned.
    """

    def __init__(self, said: str, operators: Iterable[Operator]) -> None:
        super().__init__(said)
        self.operators = merged(operators)


def merged(found: Iterable[Operator]) -> list[Operator]:
    """Each operator once, at its first place, with its count."""
    kept: dict[str, Operator] = {}
    for operator in found:
        known = kept.get(operator.name)
        kept[operator.name] = operator if known is None else replace(known, count=known.count + operator.count)
    return list(kept.values())


def operators_behind(causes: Iterable[BaseException]) -> list[Operator]:
    """The operators that an exporter's error is about; empty where it is about something else."""
    for cause in causes:
        if isinstance(cause, UnsupportedOperatorsError):
            return cause.operators
        kind = type(cause).__name__
        with suppress(Exception):  # an exporter's insides: without them its own words have to do
            if kind == "DispatchError":
                return merged(_of_dynamo(cause))
            if kind == "UnsupportedOperatorError":
                return merged(_of_torchscript(cause))
    return []


def finding(
    what: str, exporter: str, operators: list[Operator], said: str, sections: tuple[tuple[str, str], ...]
) -> ExportFailed:
    """The failure: the operators, the converter's own words, and what to do.

    Args:
        what: ``dynamo cannot export the model at opset 20``.
        exporter: its name.
        operators: at least one.
        said: what the converter said.
        sections: of the report.
    """
    first, others = operators[0], operators[1:]
    more = f" (and of {', '.join(other.name for other in others[:3])}{', ...' if others[3:] else ''})" if others else ""
    rows = []
    for operator in operators[:_MOST]:
        times = f"{operator.count}x, " if operator.count > 1 else ""
        layer = f"layer {operator.layer}" if operator.layer else "layer not known"
        rows.append(f"  {operator.name}   {times}{layer}")
        rows += [f"      {operator.line}"] if operator.line else []
    rows += [f"  ... and {len(operators) - _MOST} more"] if len(operators) > _MOST else []
    listed = "\n".join(rows)
    figures = {"unsupported": [vars(operator) for operator in operators]}
    drawn = randomness(operator.name for operator in operators)
    summary = f"{what}: it has no translation of {first.name}{first.where()}{more}{drawn and f'; {drawn}'}"
    drawn = drawn and f"{drawn}.\n\n"
    ways = ways_out(exporter, first)
    details = f"{what}.\nOperators without a translation to ONNX:\n{listed}\n\n{drawn}{ways}\n\n{said}"
    return ExportFailed(CheckResult(Verdict.FAIL, summary, figures, details, sections))


def randomness(names: Iterable[str]) -> str:
    """What to say where one of these operators draws random numbers; otherwise nothing."""
    name = next(filter(_RANDOM.search, names), None)
    if name is None:
        return ""
    return (
        f"{name} draws random numbers: dropout or noise is active (training=True, train mode), or the answer is "
        "random. Give the model in inference mode; random numbers that are meant can come in as an input"
    )


def ways_out(exporter: str, operator: Operator) -> str:
    """What to do about an operator, in the words of this exporter's options."""
    pattern = _TRANSLATE.get(exporter)
    rows = []
    if pattern is not None:
        how = pattern.format(name=operator.name, dotted=operator.name.replace("::", "."))
        rows += [
            f"  translate  {how}.",
            "             To keep it as a node of its own, give beside it {'functions': [...]}, what it computes in",
            "             ONNX, or {'domains': [...], 'ort_custom_ops': library}, an implementation for ONNX Runtime.",
        ]
    other = {"dynamo": "exporter='torchscript'", "torchscript": "exporter='dynamo', or a newer opset"}.get(exporter)
    tried = f" (or try {other})" if other else ""
    rows += [
        "  rewrite    options={'rewritten': build_equivalent}: an equivalent model without it is exported in place of",
        f"             this one, and held to this one by parity{tried}.",
        "  split      Pipeline([before, Stage(build_layer, export=False), after]): what comes before and after is",
        "             exported, this layer stays in its framework.",
        "Each with an example: docs/unsupported-operators.md",
    ]
    return "Three ways out:\n" + "\n".join(rows)


def _of_dynamo(error: BaseException) -> Iterator[Operator]:
    """Every call of the exported program that torch's registry dispatches to nothing."""
    from torch.onnx._internal.exporter import _dispatching

    held = _held(error, "node", "registry")
    failed, registry = held["node"], held["registry"]
    for node in failed.graph.nodes:
        if node is not failed and not (
            node.op == "call_function"
            and hasattr(node.target, "_schema")
            and not str(node.target).startswith("onnx")  # torch.onnx.ops, which are ONNX already
            and _dispatching.dispatch(node, registry)[0] is None
        ):
            continue
        modules = [place for place in (node.meta.get("nn_module_stack") or {}).values() if place[0]]
        path, kind = modules[-1] if modules else ("", "")
        kind = getattr(kind, "__name__", str(kind)).rpartition(".")[2]
        yield Operator(str(node.target), _layer(_plain_path(path), kind), _line(node.meta.get("stack_trace") or "", -1))


def _of_torchscript(error: BaseException) -> Iterator[Operator]:
    """Every node of the traced graph that no symbolic is registered for."""
    from torch.onnx._internal.torchscript_exporter import registration

    held = _held(error, "node", "opset_version")
    failed, opset = held["node"], held["opset_version"]
    nodes = [failed]
    with suppress(LookupError):
        nodes = list(_nodes(_held(error, "graph", "operator_export_type", "params_dict")["graph"]))
    found = [node for node in nodes if not _is_registered(registration.registry, node.kind(), opset)] or [failed]
    for node in found:
        scopes = _SCOPE.findall(node.scopeName())
        kind, path = (scopes[-1][0], ".".join(name for _, name in scopes)) if scopes else ("", "")
        yield Operator(node.kind(), _layer(_plain_path(path), kind), _line(node.sourceRange(), 0))


def _is_registered(registry: Any, kind: str, opset: int) -> bool:
    return kind.startswith(("prim::", "onnx::")) or registry.is_registered_op(kind.removesuffix("_"), opset)


def _nodes(block: Any) -> Iterator[Any]:
    for node in block.nodes():
        yield node
        for inner in node.blocks():
            yield from _nodes(inner)


def _held(error: BaseException, *names: str) -> Mapping[str, Any]:
    """The local variables of the innermost frame that has all of these.

    Raises:
        LookupError: none has.
    """
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    for frame in reversed(frames):
        variables: Mapping[str, Any] = frame.f_locals
        if set(names) <= set(variables):
            return variables
    raise LookupError(names)


def _plain_path(path: str) -> str:
    """A module's path without what our own wrapper, which calls the model ``model``, puts before it."""
    return re.sub(r"^(L\['self'\]\.?)?(model(\.|$))?", "", path)


def _layer(path: str, kind: str) -> str:
    return " ".join(filter(None, (f"'{path}'" if path else "", f"({kind})" if path else kind)))


def _line(stack: str, which: int) -> str:
    """The user's own line of a stack in text: the first or the last one."""
    places = [(match[1] or match[3], int(match[2] or match[4])) for match in _STACK.finditer(stack)]
    nobodys = ("<", _PACKAGE)
    own = [place for place in places if origin_of_path(place[0]) is Origin.USER and not place[0].startswith(nobodys)]
    return source_line(*own[which]) if own else ""
