"""``operators``: only operators, domains and an opset that the target's runtime takes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pytest_onnxprep.artifacts.onnx_model import DEFAULT_DOMAINS, OnnxModel, all_nodes, opset_of, qualified_name
from pytest_onnxprep.checks.case import Case
from pytest_onnxprep.errors import OperatorsNotAccepted, SpecError, closest
from pytest_onnxprep.localise.layers import layer_of_node
from pytest_onnxprep.spec.operators_request import OperatorsRequest, matches
from pytest_onnxprep.spec.verdict import CheckResult, Verdict

#: What a failing check is raised as.
FINDING = OperatorsNotAccepted
#: Nodes of one operator that a message names; the count says how many there are.
_NAMED = 4
_SUMMED = 6


@dataclass
class Offence:
    """One operator that is not accepted, and where it stands.

    Args:
        operator: ``Loop``, ``com.microsoft.Gelu``.
        reason: why, in a few words.
        nodes: the nodes, in the order of the graph.
    """

    operator: str
    reason: str
    nodes: list[Any] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """Count, reason, and the first nodes with their layers."""
        return {"count": len(self.nodes), "reason": self.reason, "nodes": [where(node) for node in self.nodes[:_NAMED]]}

    def lines(self) -> Iterator[str]:
        """The operator, then a line for each of its first nodes."""
        yield f"  {self.operator} x{len(self.nodes)}: {self.reason}"
        for node in self.nodes[:_NAMED]:
            told = where(node)
            yield "    " + "   ".join(
                filter(None, (told["node"], told["layer"] and f"in {told['layer']}", told["line"]))
            )
        if len(self.nodes) > _NAMED:
            yield f"    and {len(self.nodes) - _NAMED} more"


def run(case: Case) -> CheckResult:
    """Hold every node of the file, of its subgraphs and of its functions to the request.

    Raises:
        SpecError: a name that neither ONNX nor ONNX Runtime knows as an operator: it would never match anything.
    """
    request: OperatorsRequest = case.request
    model = case.model
    check_names([*(request.allowed or ()), *request.forbidden])
    found = offences(model, request)
    opset_breach = opset_problem(model, request.opset_max)
    figures = {
        "opset": model.opset,
        "opset_max": request.opset_max,
        "operators": dict(model.operators.most_common()),
        "offending": {one.operator: one.to_json() for one in found},
    }
    if not found and not opset_breach:
        kinds = len(runtime_operators(model))
        return CheckResult(Verdict.PASS, f"{kinds} kinds of operators, all accepted; opset {model.opset}", figures)
    summary = "; ".join(filter(None, (opset_breach, summed(found))))
    return CheckResult(Verdict.FAIL, summary, figures, _details(summary, found, request))


def runtime_operators(model: OnnxModel) -> dict[str, list[Any]]:
    """Operator -> its nodes; calls of the model's own functions are no operators, what those consist of is."""
    found: dict[str, list[Any]] = {}
    for proto in _protos(model):
        own = {(function.domain, function.name) for function in proto.functions}
        for node in all_nodes(proto):
            if (node.domain, node.op_type) not in own:
                found.setdefault(qualified_name(node), []).append(node)
    return found


def _protos(model: OnnxModel) -> list[Any]:
    """The file's, or those of a pipeline's parts."""
    return [part.graph_proto for part in model.parts.values()] or [model.graph_proto]


def offences(model: OnnxModel, request: OperatorsRequest) -> list[Offence]:
    """What of the file is not accepted, most frequent first."""
    found = [
        Offence(name, reason, nodes)
        for name, nodes in runtime_operators(model).items()
        if (reason := _reason(name, nodes[0].domain, request))
    ]
    return sorted(found, key=lambda one: -len(one.nodes))


def opset_problem(model: OnnxModel, newest: int | None) -> str:
    """Why the file's opset is not accepted; empty where it is. The opset of the model's functions counts as well."""
    if newest is None:
        return ""
    opset = max(opset_of(one) for proto in _protos(model) for one in (proto, *proto.functions))
    return f"opset {opset} is newer than opset_max={newest}" if opset > newest else ""


def summed(found: Sequence[Offence]) -> str:
    """One line: operators with counts, by reason."""
    by_reason: dict[str, list[Offence]] = {}
    for one in found:
        by_reason.setdefault(one.reason, []).append(one)
    parts = []
    for reason, group in by_reason.items():
        shown = ", ".join(f"{one.operator} x{len(one.nodes)}" for one in group[:_SUMMED])
        more = f" and {len(group) - _SUMMED} more kinds" if len(group) > _SUMMED else ""
        first = where(group[0].nodes[0])
        layer = f", {first['layer']}" if first["layer"] else ""
        parts.append(f"{reason}: {shown}{more} (first at {first['node']}{layer})")
    return "; ".join(parts)


def where(node: Any) -> dict[str, str]:
    """A node's name (what it writes where it has none), its layer and source line as far as the file tells."""
    layer = layer_of_node(node)
    name = node.name or next((f"the writer of {output!r}" for output in node.output if output), node.op_type)
    return {"node": str(name), "layer": str(layer), "line": layer.line}


def check_names(names: Sequence[str]) -> None:
    """Refuse names that no file could match.

    Raises:
        SpecError: neither ONNX nor ONNX Runtime has such an operator.
    """
    known = _known()
    for name in names:
        domain, _, operator = name.rpartition(".")
        # Of a domain nobody here knows (a user's own operators) nothing can be said.
        if domain not in known or set(name) & set("*?") or operator in known[domain]:
            continue
        everywhere = {f"{one}.{op}" if one else op for one, operators in known.items() for op in operators}
        whose = domain or "ONNX"
        raise SpecError(f"operators: {whose} has no operator {operator!r}{closest(name, everywhere)}")


def _known() -> Mapping[str, set[str]]:
    import onnx
    import onnxruntime.capi.onnxruntime_pybind11_state as state

    found: dict[str, set[str]] = {}
    for schema in (*onnx.defs.get_all_schemas_with_history(), *state.get_all_operator_schema()):
        found.setdefault("" if schema.domain in DEFAULT_DOMAINS else schema.domain, set()).add(schema.name)
    return found


def _reason(name: str, domain: str, request: OperatorsRequest) -> str:
    pattern = matches(name, request.forbidden)
    if pattern:
        return "forbidden" if pattern == name else f"forbidden by {pattern!r}"
    if request.domains is not None and domain not in (*DEFAULT_DOMAINS, *request.domains):
        return f"domain {domain!r} is not among domains="
    if name == "Constant":  # data, not work: runtimes fold it into the weights when they load the file
        return ""
    if request.allowed is not None and not matches(name, request.allowed):
        return "not among allowed="
    return ""


def _details(summary: str, found: Sequence[Offence], request: OperatorsRequest) -> str:
    lines = [f"operators not accepted: {summary}"]
    if found:
        lines += ["", *(line for one in found for line in one.lines())]
    lines.append("")
    if request.opset_max is not None and summary.startswith("opset "):
        lines.append(f"Export with opset={request.opset_max} or older, or raise opset_max.")
    if found:
        lines.append("Change what makes these nodes, take another exporter or opset, or accept them in the mark.")
    return "\n".join(lines)
