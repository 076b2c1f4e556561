"""What was found out about a file, kept until the file changes: many tests ask the same of one."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from pytest_onnxprep.errors import SourceError

_T = TypeVar("_T")


def identity(path: Path) -> tuple[str, int, int, int]:
    """What tells that a file is still the one it was."""
    status = path.stat()
    return str(path.resolve()), status.st_ino, status.st_size, status.st_mtime_ns


def once_per_file(look: Callable[[Path], _T]) -> Callable[[Path], _T]:
    """What a function makes of a file is kept, and so is the `SourceError` by which it refuses one."""
    known: dict[tuple[str, int, int, int], Any] = {}

    @functools.wraps(look)
    def kept(path: Path) -> _T:
        key = identity(path)
        if key not in known:
            try:
                known[key] = look(path)
            except SourceError as error:
                known[key] = error.with_traceback(None)
        found = known[key]
        if isinstance(found, SourceError):
            raise type(found)(*found.args)
        result: _T = found
        return result

    return kept
