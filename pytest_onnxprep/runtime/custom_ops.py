"""Libraries of operators that ONNX Runtime does not have itself: found, and registered with a session's options."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pytest_onnxprep.errors import OnnxPrepError
from pytest_onnxprep.spec.own_options import EXTENSIONS


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


def library_path(library: str) -> str:
    """The file behind the name of a library.

    Raises:
        OnnxPrepError: there is none.
    """
    if library.replace("_", "-") == EXTENSIONS:
        try:
            from onnxruntime_extensions import get_library_path
        except ImportError as error:
            raise OnnxPrepError(
                f"ort_custom_ops={EXTENSIONS!r} needs {error.name or EXTENSIONS}, which is not installed: "
                f"pip install {EXTENSIONS}"
            ) from error
        return str(get_library_path())
    if not Path(library).is_file():
        raise OnnxPrepError(
            f"ort_custom_ops: {library!r} does not exist; accepted: {EXTENSIONS!r}, or the path of a shared library "
            "with custom operators"
        )
    return str(Path(library).resolve())
