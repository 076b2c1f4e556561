"""What a file of PyTorch's holds, told without running any of it.

Every one of these formats is, or may hold, a Python pickle, and a pickle is a program. What is looked at here is the
list of a zip archive's entries, and the header of a safetensors file.
"""

from __future__ import annotations

import json
import struct
import zipfile
from pathlib import Path

from pytest_onnxprep.errors import SourceError

SCRIPT, PROGRAM, PICKLE, SAFETENSORS = "script", "program", "pickle", "safetensors"

#: Bytes of a description that is read whole.
_LARGEST_HEADER = 100_000_000


def kind_of(path: Path) -> str:
    """``script``, ``program``, ``pickle`` or ``safetensors``.

    Raises:
        SourceError: the file is none of these.
    """
    with path.open("rb") as file:
        start = file.read(16)
    if path.suffix.lower() == ".safetensors":
        return SAFETENSORS
    if start.startswith(b"PK"):
        return _kind_of_archive(path)
    if start[:1] == b"\x80":  # the old format of torch.save: one pickle after another
        return PICKLE
    raise SourceError(f"source {str(path)!r} is damaged, or no file of PyTorch's: {_beginning(start)}")


def _beginning(start: bytes) -> str:
    if start.startswith(b"version https://git"):
        return "it is a pointer of Git LFS; run git lfs pull"
    return "it is empty" if not start else f"it begins with {start[:8]!r}"


def _kind_of_archive(path: Path) -> str:
    names = entries(path)
    inside = {name.partition("/")[2] for name in names}
    if ".data/extern_modules" in inside:
        raise SourceError(
            f"source {str(path)!r} is a torch.package, which holds Python code: reading it runs that, so it was not "
            "read. For a file that you trust, load the model in a factory of yours: "
            f"lambda: torch.package.PackageImporter({str(path)!r}).load_pickle(package, resource)"
        )
    if any(name.startswith("code/") for name in inside) or "constants.pkl" in inside:
        return SCRIPT
    if any(name.startswith("models/") for name in inside) or "serialized_exported_program.json" in names:
        return PROGRAM
    if "data.pkl" in inside:
        return PICKLE
    raise SourceError(
        f"source {str(path)!r} is a zip archive, but none that PyTorch wrote (it holds "
        f"{', '.join(names[:3]) or 'nothing'})"
    )


def entries(path: Path) -> list[str]:
    """Names of a zip archive's entries.

    Raises:
        SourceError: the archive is damaged.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.namelist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise SourceError(f"source {str(path)!r} is damaged: {error}; copy or save it again") from None


def safetensors_names(path: Path) -> list[str]:
    """The tensors of a safetensors file.

    Raises:
        SourceError: it is damaged.
    """
    try:
        with path.open("rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            if length > _LARGEST_HEADER or length > path.stat().st_size:
                raise ValueError("its header is longer than the file")
            header = json.loads(file.read(length))
        return [name for name in header if name != "__metadata__"]
    except (OSError, ValueError, TypeError, struct.error, RecursionError) as error:
        raise SourceError(f"source {str(path)!r} is damaged, or no safetensors file: {error}") from None
