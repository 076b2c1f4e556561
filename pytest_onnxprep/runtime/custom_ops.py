"""Libraries of operators that ONNX Runtime does not have itself: found, and registered with a session's options."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pytest_onnxprep.errors import OnnxPrepError
from pytest_onnxprep.spec.own_options import EXTENSIONS

_MODULE = "onnxruntime_extensions"
_with_care = False


def register(options: Any, libraries: Iterable[str]) -> None:
    """Register libraries of custom operators with ``onnxruntime.SessionOptions``.

    Raises:
        OnnxPrepError: a library that is not there, or that ONNX Runtime does not take.
    """
    for library in libraries:
        path = library_path(library)
        try:
            options.register_custom_ops_library(path)
        except Exception as error:
            raise OnnxPrepError(f"ort_custom_ops: ONNX Runtime does not take {path}: {error}") from error


def load_extensions() -> Any:
    """Import onnxruntime-extensions, its own symbols first.

    Imported plainly after TensorFlow it gets that one's protobuf, and its SentencePiece ends the process.

    Raises:
        OnnxPrepError: it is not installed.
    """
    global _with_care
    _with_care = _with_care or _MODULE not in sys.modules
    before = sys.getdlopenflags() if hasattr(sys, "getdlopenflags") else 0
    own_first = getattr(os, "RTLD_DEEPBIND", 0)
    if own_first:
        sys.setdlopenflags(before | own_first)
    try:
        return importlib.import_module(_MODULE)
    except ImportError as error:
        raise OnnxPrepError(
            f"ort_custom_ops={EXTENSIONS!r} needs {error.name or EXTENSIONS}, which is not installed: "
            f"pip install {EXTENSIONS}"
        ) from error
    finally:
        if own_first:
            sys.setdlopenflags(before)


def is_exposed(libraries: Iterable[str]) -> bool:
    """Whether these are onnxruntime-extensions', and somebody else imported them, after TensorFlow."""
    order = [name for name in sys.modules if name in ("tensorflow", _MODULE)]
    return any(map(_is_package, libraries)) and not _with_care and order == ["tensorflow", _MODULE]


def portable(libraries: Iterable[str]) -> list[str]:
    """Libraries as another process finds them: files by their path, the package by its name.

    Raises:
        OnnxPrepError: one is not there.
    """
    return [library if _is_package(library) else library_path(library) for library in libraries]


def _is_package(library: str) -> bool:
    return library.replace("_", "-") == EXTENSIONS


def library_path(library: str) -> str:
    """The file behind the name of a library.

    Raises:
        OnnxPrepError: there is none.
    """
    if _is_package(library):
        return str(load_extensions().get_library_path())
    if not Path(library).is_file():
        raise OnnxPrepError(
            f"ort_custom_ops: {library!r} does not exist; accepted: {EXTENSIONS!r}, or the path of a shared library "
            "with custom operators"
        )
    return str(Path(library).resolve())
