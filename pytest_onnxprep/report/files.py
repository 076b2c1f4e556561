"""Report files appear whole or not at all."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from pytest_onnxprep.errors import OnnxPrepError


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Write ``text`` (UTF-8) by way of a temporary file beside ``path``; parent folders are made.

    Raises:
        OnnxPrepError: the file cannot be written; whatever was there before still is.
    """
    # A link is kept and what it points to replaced; a device or pipe cannot be replaced, only written to.
    target = Path(os.path.realpath(path))
    data = text.encode("utf-8", "backslashreplace")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.exists() and not target.is_file() and not target.is_dir():
            target.write_bytes(data)
            return
        _replace(target, data)
    except OSError as error:
        raise OnnxPrepError(f"cannot write report {os.fspath(path)}: {error.strerror or error}") from error


def _replace(target: Path, data: bytes) -> None:
    temporary = target.with_name(f".{target.name[:200]}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(target)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise
