"""The ``options=`` that are the plugin's own: what a file may hold beside ONNX's operators, and how it got there."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pytest_onnxprep.spec.errors import SpecError, as_tuple
from pytest_onnxprep.spec.layout import INPUTS, OUTPUTS, Layout

#: Never handed to an exporter.
OWN_OPTIONS = frozenset({"functions", "ort_custom_ops", "rewritten", INPUTS, OUTPUTS})
#: ``ort_custom_ops`` by this name is the library that the installed package brings.
EXTENSIONS = "onnxruntime-extensions"


def check_own_options(options: Mapping[str, Any]) -> None:
    """Refuse what is malformed among the plugin's own options.

    Raises:
        SpecError: with what is accepted.
    """
    for domain in as_tuple(options.get("domains", ())):
        if not isinstance(domain, str):
            raise SpecError(f"options['domains'] must be a list of operator domains, not {domain!r}")
    for function in as_tuple(options.get("functions", ())):
        if not (hasattr(function, "to_function_proto") or hasattr(function, "opset_import")):
            raise SpecError(
                f"options['functions'] must be a list of onnx.FunctionProto or onnxscript functions, not {function!r}"
            )
    for library in as_tuple(options.get("ort_custom_ops", ())):
        if not isinstance(library, (str, os.PathLike)):
            raise SpecError(
                f"options['ort_custom_ops'] must be {EXTENSIONS!r} or the path of a custom operator library, "
                f"not {library!r}"
            )
    Layout.of(options)
    rewritten = options.get("rewritten")
    if "rewritten" in options and not callable(rewritten):
        raise SpecError(f"options['rewritten'] must be a factory of an equivalent model, not {rewritten!r}")


def with_found_libraries(options: Mapping[str, Any], base: Path | None) -> Mapping[str, Any]:
    """The options, in which libraries that lie beside the test file are named by their whole path.

    Args:
        options: of a variant, or of a stage.
        base: the folder of the test file; what is not there is left to be found from the working directory.
    """
    named = custom_op_libraries(options)
    found = [str((base / name).resolve()) if base and os.path.isfile(base / name) else name for name in named]
    return options if list(named) == found else {**options, "ort_custom_ops": found}


def custom_op_libraries(options: Mapping[str, Any]) -> tuple[str, ...]:
    """What ``ort_custom_ops`` names."""
    return tuple(map(os.fspath, as_tuple(options.get("ort_custom_ops", ()))))
