"""The entries of a zip archive of PyTorch's, read by the reader that torch itself uses.

Archives can be written so that two readers find different contents in them; what is checked has to be what is loaded.
"""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

from pytest_onnxprep.errors import SourceError
from pytest_onnxprep.sources.torch_failure import reason

#: Unpacked bytes beyond eight times the file's own.
_UNPACKED = 64 << 20
_MOST_ENTRIES = 500_000


def check_size(path: Path, listed: list[zipfile.ZipInfo]) -> int:
    """The bytes that a zip archive unpacks to.

    Raises:
        SourceError: they are far more than its own; torch stores without compression.
    """
    size, unpacked = path.stat().st_size, sum(info.file_size for info in listed)
    if unpacked > 8 * size + _UNPACKED or len(listed) > _MOST_ENTRIES:
        raise SourceError(
            f"source {str(path)!r} is refused: its {size} bytes unpack to {unpacked}, far more than torch writes"
        )
    return unpacked


class _Old:
    """A program as torch wrote it before 2.8, and as it reads it: by `zipfile`."""

    def __init__(self, path: Path) -> None:
        archive = zipfile.ZipFile(path)
        self.get_all_records = archive.namelist
        self.get_record = archive.read
        self.get_record_size = lambda name: archive.getinfo(name).file_size


class Reader:
    """An archive.

    Args:
        path: the file.
        again: the function that would write it anew, for messages.

    Raises:
        SourceError: it is damaged, or unpacks to far more than its size.
    """

    def __init__(self, path: Path, again: str) -> None:
        import torch

        self.path = path
        self.again = again
        try:
            with zipfile.ZipFile(path) as archive:
                listed = archive.infolist()
            self.bytes = check_size(path, listed)
            whole = [info.filename for info in listed]
            old = "serialized_exported_program.json" in whole  # torch reads these with zipfile as well
            self._archive: Any = _Old(path) if old else torch._C.PyTorchFileReader(str(path))
            self.names: list[str] = self._archive.get_all_records()
        except (zipfile.BadZipFile, OSError, ValueError, RuntimeError, NotImplementedError) as error:
            raise self.damaged(reason(str(error), 200)) from None
        known = {name.lower() for name in self.names}  # torch looks them up without regard to case
        outside = [] if old else [name for name in whole if name.partition("/")[2].lower() not in known]
        if len(known) < len(self.names) or outside:
            raise SourceError(
                f"source {str(path)!r} is refused: it holds entries of the same name, or outside its folder"
            )

    def text(self, name: str, limit: int) -> bytes:
        """The bytes of an entry.

        Raises:
            SourceError: it is damaged, or larger than that.
        """
        try:
            length: int = self._archive.get_record_size(name)
            data: bytes = self._archive.get_record(name) if length <= limit else b""
        except (zipfile.BadZipFile, OSError, ValueError, RuntimeError, KeyError, NotImplementedError) as error:
            raise self.damaged(f"{name}: {reason(str(error), 200)}") from None
        if length > limit:
            raise SourceError(
                f"source {str(self.path)!r} is refused: {name!r} is {length >> 20} MB long, far more than one needs"
            )
        return data

    def damaged(self, why: str) -> SourceError:
        """The error that says so."""
        return SourceError(f"source {str(self.path)!r} is damaged: {why}; copy it, or save it with {self.again}, again")
