"""The contract of every ONNX file, exported here or elsewhere: valid, loadable, and what was declared.

Converters break each of these silently: tf2onnx leaves TensorFlow operators in the graph and returns normally,
torch's dynamo exporter leaves a file at opset 18 when asked for 17, tracers freeze dims that were declared dynamic.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pytest_onnxprep.artifacts.onnx_model import DEFAULT_DOMAINS, all_nodes, opset_of, qualified_name
from pytest_onnxprep.errors import ContractViolation, ExportFailed, OnnxPrepError, SourceError
from pytest_onnxprep.exporters.kernel_words import missing_kernel
from pytest_onnxprep.exporters.unsupported import randomness
from pytest_onnxprep.runtime.isolation import prove
from pytest_onnxprep.runtime.session import make_session, session_types
from pytest_onnxprep.sources.load import one_line
from pytest_onnxprep.sources.onnx_file import external_files, is_large
from pytest_onnxprep.sources.onnx_guard import read_model
from pytest_onnxprep.spec.signature import Signature
from pytest_onnxprep.spec.tensor import TensorSpec

#: Domains of the ONNX standard itself; anything else has to be declared.
STANDARD_DOMAINS = frozenset({*DEFAULT_DOMAINS, "ai.onnx.ml"})


def check_contract(
    path: Path,
    signature: Signature,
    *,
    opset: int | None,
    domains: Iterable[str] | None,
    provider: str | None = None,
    custom_ops: Iterable[str] = (),
) -> None:
    """Hold a file to its contract.

    Args:
        path: the ONNX file.
        signature: declared inputs, and outputs where they are declared.
        opset: the opset asked for, or None for any.
        domains: operator domains allowed beside the standard ones; None allows every domain ONNX Runtime loads.
        provider: execution provider to load it with.
        custom_ops: libraries of custom operators to load it with.

    Raises:
        ExportFailed: the file is unreadable, invalid, or does not load.
        ContractViolation: it is valid, but not what was declared; the message lists every breach.
    """
    proto = _read(path)
    large = is_large(external_files(path))  # a file that points out of its folder is refused before anybody follows it
    _check_operators(proto)
    _check_validity(path)
    inputs, outputs = _load(path, proto, provider, custom_ops, lean=large)
    breaches = [
        *_opset_breach(proto, opset),
        *_domain_breaches(proto, domains),
        *_tensor_breaches("input", inputs, signature.inputs),
    ]
    if signature.outputs is not None:
        breaches += _tensor_breaches("output", outputs, signature.outputs)
    if breaches:
        listed = "\n".join(f"  - {breach}" for breach in breaches)
        more = f" (and {len(breaches) - 1} more)" if len(breaches) > 1 else ""
        raise ContractViolation.fail(
            f"contract broken: {breaches[0]}{more}",
            f"the ONNX file loads, but it is not what was declared:\n{listed}\n  file: {path.name}",
        )


def _read(path: Path) -> Any:
    try:
        return read_model(path)
    except SourceError as error:
        raise ExportFailed.fail(str(error).replace(repr(str(path)), path.name)) from error


def unknown_nodes(proto: Any) -> list[Any]:
    """Nodes whose operators are in no ONNX opset: leftovers of the framework, which the checker names one at a time."""
    import onnx

    opset = opset_of(proto)
    local = {(function.domain, function.name) for function in proto.functions}
    return [
        node
        for node in all_nodes(proto)
        if node.domain in DEFAULT_DOMAINS
        and (node.domain, node.op_type) not in local
        and not onnx.defs.has(node.op_type, max_inclusive_version=opset, domain="")
    ]


def _check_operators(proto: Any) -> None:
    opset = opset_of(proto)
    unknown: Counter[str] = Counter()
    example: dict[str, str] = {}
    for node in unknown_nodes(proto):
        unknown[node.op_type] += 1
        example.setdefault(node.op_type, node.name)
    if unknown:
        listed = ", ".join(f"{name} ({count}x, first at node {example[name]!r})" for name, count in unknown.items())
        drawn = randomness(unknown)
        raise ExportFailed.fail(
            f"unsupported operators left in the graph: {listed}{drawn and f'; {drawn}'}",
            f"the converter left operators in the graph that ONNX opset {opset} does not have: {listed}.\n"
            "It has no translation for them and said so only in its log. Rewrite that part of the model with "
            f"supported operators, or ask for a newer opset.{drawn and f' {drawn}.'}",
        )


def _check_validity(path: Path) -> None:
    import onnx

    try:
        onnx.checker.check_model(str(path))
    except Exception as error:
        raise ExportFailed.fail(
            f"onnx.checker refuses the file: {one_line(error)}", f"onnx.checker refuses {path.name}:\n{error}"
        ) from error


def _load(path: Path, proto: Any, provider: str | None, custom_ops: Iterable[str], *, lean: bool) -> tuple[Any, Any]:
    try:
        if not custom_ops:  # a child has no operators that are written in Python
            prove(path)
        return session_types(make_session(path, provider=provider, custom_ops=custom_ops, lean=lean))
    except Exception as error:
        if isinstance(error, OnnxPrepError):
            raise
        told = missing_kernel(error, proto)
        if told is not None:
            raise ExportFailed.fail(*told) from error
        raise ExportFailed.fail(
            f"ONNX Runtime cannot load the file: {one_line(error)}", f"ONNX Runtime cannot load {path.name}:\n{error}"
        ) from error


def _opset_breach(proto: Any, asked: int | None) -> list[str]:
    produced = opset_of(proto)
    if asked is None or produced == asked:
        return []
    return [f"opset {asked} was asked for, the file is at opset {produced}"]


def _domain_breaches(proto: Any, domains: Iterable[str] | None) -> list[str]:
    if domains is None:
        return []
    allowed = STANDARD_DOMAINS | set(domains) | {function.domain for function in proto.functions}
    foreign = Counter(qualified_name(node) for node in all_nodes(proto) if node.domain not in allowed)
    return [f"operator {name} ({count}x) is outside the declared domains" for name, count in foreign.items()]


def _tensor_breaches(kind: str, found: Any, declared: Any) -> list[str]:
    names = [tensor.name for tensor in found]
    wanted = list(declared)
    if names != wanted:
        found_names, declared_names = (", ".join(some) or "none" for some in (names, wanted))
        return [f"{kind}s are {found_names}; declared: {declared_names}{_why(names, wanted)}"]
    breaches: list[str] = []
    for tensor in found:
        spec = declared[tensor.name]
        if spec is not None:
            breaches += _one_tensor(kind, tensor, spec)
    return breaches


def _why(names: list[str], wanted: list[str]) -> str:
    """What differs between two lists of names, and the usual reason for it."""
    missing = [name for name in wanted if name not in names]
    extra = [name for name in names if name not in wanted]
    if missing and extra:
        return ""
    if missing:
        return f" (the file lacks {', '.join(missing)}: converters drop what no output depends on)"
    if extra:
        return f" (nobody declared {', '.join(extra)}: a constant that was not frozen, or one more output of the model)"
    return " (the same, in another order)" if sorted(names) == sorted(wanted) else " (a name occurs twice)"


def _one_tensor(kind: str, tensor: Any, spec: TensorSpec) -> list[str]:
    where = f"{kind} {tensor.name!r}"
    breaches = []
    if tensor.dtype != spec.dtype:
        breaches.append(f"{where} is {tensor.dtype}, declared {spec.dtype}")
    if len(tensor.shape) != len(spec.shape):
        # ONNX Runtime reports an output of unknown rank with no dims at all: nothing can be said of those.
        if kind == "input" or tensor.shape:
            breaches.append(f"{where} has rank {len(tensor.shape)} {tensor.shape}, declared {spec}")
        return breaches
    for axis, (size, dim) in enumerate(zip(tensor.shape, spec.shape, strict=True)):
        if not isinstance(size, int):
            continue
        if not dim.is_static:
            breaches.append(f"{where} axis {axis} ({dim}) was declared dynamic, the file has it fixed at {size}")
        elif size != dim.evaluate({}):
            breaches.append(f"{where} axis {axis} is {size}, declared {dim}")
    return breaches
