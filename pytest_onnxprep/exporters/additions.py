"""What is put into an exported file on request: ONNX functions, and imports of the domains its nodes are in."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pytest_onnxprep.artifacts.onnx_model import all_nodes
from pytest_onnxprep.errors import ExporterError
from pytest_onnxprep.spec.errors import as_tuple


def add_to(path: Path, options: Mapping[str, Any], domains: Iterable[str]) -> None:
    """Add ``options['functions']`` to a file, and import every declared domain that a node is in.

    Exporters write the node of a translation and leave both to somebody else: jax2onnx does not import the domain, and
    torch's dynamo exporter inlines every function it is given.

    Raises:
        ExporterError: a function that no node calls, or that wants another opset than the file's.
    """
    import onnx

    functions = [_proto(function) for function in as_tuple(options.get("functions", ()))]
    if not functions and not domains:
        return
    model = onnx.load(str(path), load_external_data=False)
    called = {(node.domain, node.op_type) for node in all_nodes(model)}
    called |= {(node.domain, node.op_type) for function in functions for node in function.node}
    there = {(function.domain, function.name): function for function in model.functions}
    imported = {entry.domain: entry.version for entry in model.opset_import}
    wanted = dict.fromkeys(domains, 1)
    for function in functions:
        if (function.domain, function.name) not in called:
            others = ", ".join(sorted(f"{domain}::{name}" for domain, name in called if domain)) or "none"
            raise ExporterError(
                f"options['functions']: no node of the file calls {function.domain}::{function.name}; nodes outside "
                f"ONNX's own domain: {others}"
            )
        wanted.setdefault(function.domain, 1)
        earlier = there.get((function.domain, function.name))
        if earlier is not None:  # an `onnxscript_op` has brought one of this name: what was asked for stands
            model.functions.remove(earlier)
        model.functions.append(_at(function, imported))
    for domain, version in wanted.items():
        if domain not in imported and any(domain == of for of, _ in called):
            model.opset_import.append(onnx.helper.make_opsetid(domain, version))
    onnx.save(model, str(path))


def _proto(function: Any) -> Any:
    """A ``FunctionProto`` of one's own, or of an onnxscript function."""
    made = function.to_function_proto() if hasattr(function, "to_function_proto") else function
    copy = type(made)()
    copy.CopyFrom(made)
    return copy


def _at(function: Any, imported: Mapping[str, int]) -> Any:
    """The function at the file's own opset: ONNX Runtime takes no two versions of one domain."""
    for entry in function.opset_import:
        file = imported.get(entry.domain, entry.version)
        if file < entry.version:
            raise ExporterError(
                f"options['functions']: {function.domain}::{function.name} is written for opset {entry.version}, the "
                f"file is at {file}; write it for that opset, or ask for opset={entry.version}"
            )
        entry.version = file
    return function
