"""What lies in one folder of the store: the files of an export and the record that vouches for them.

``provenance.json`` is written last and holds the size and digest of every other file, and a digest of itself. A
folder without a readable one is half an entry, whatever else it holds.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import stat
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from pytest_onnxprep.errors import ExporterError

MODEL = "model.onnx"
RECORD = "provenance.json"
_LAYOUT = 1
#: Bytes of a record; what converters say is cut off long before.
_LARGEST_RECORD = 64_000_000
#: What an absent or half-written file gives. Anything else (too many open files, no permission) says nothing about
#: the entry and must not cost it.
_ABSENT = (FileNotFoundError, NotADirectoryError, IsADirectoryError)


def seal(folder: Path, key: str, provenance: Mapping[str, Any]) -> dict[str, Any]:
    """Make the files of a finished export durable and read-only, then write the record that makes it an entry.

    Returns:
        The provenance as a later reader will find it (after a round trip through JSON).

    Raises:
        ExporterError: the export left no ``model.onnx``, or its provenance is not JSON-able.
        OSError: the disk refuses.
    """
    if not (folder / MODEL).is_file():
        raise ExporterError(f"the exporter returned without writing {MODEL}")
    folders = [folder]
    files = {}
    for path in sorted(folder.rglob("*")):
        if path.is_dir():
            folders.append(path)
            continue
        _own(path)
        files[str(path.relative_to(folder))] = {"size": path.stat().st_size, "blake2b": file_digest(path)}
        os.chmod(path, 0o444)
        _sync(path)
    try:
        body = json.dumps({"layout": _LAYOUT, "key": key, "files": files, "provenance": dict(provenance)}, indent=1)
    except (TypeError, ValueError) as error:
        raise ExporterError(f"the exporter's provenance cannot be written as JSON: {error}") from error
    record = folder / RECORD
    record.write_text(json.dumps({"blake2b": _text_digest(body), "body": body}), encoding="utf-8")
    os.chmod(record, 0o444)
    _sync(record)
    for each in folders:
        _sync(each)
    read: dict[str, Any] = json.loads(body)["provenance"]
    return read


def publish(folder: Path, target: Path) -> None:
    """Move a sealed folder to its place in one step.

    Raises:
        OSError: the disk refuses, or something lies at ``target`` already.
    """
    target.parent.mkdir(exist_ok=True)
    os.rename(folder, target)
    _sync(target.parent)


def read_record(folder: Path, key: str) -> dict[str, Any] | None:
    """The record of an entry (``files`` and ``provenance``), or None when it is absent, damaged or of another key.

    Raises:
        OSError: it is there and cannot be read.
    """
    try:
        status = os.lstat(folder / RECORD)
        if not stat.S_ISREG(status.st_mode) or status.st_size > _LARGEST_RECORD:
            return None
        outer = json.loads((folder / RECORD).read_bytes())
        body = outer["body"]
        if _text_digest(body) != outer["blake2b"]:
            return None
        record: dict[str, Any] = json.loads(body)
        return record if _is_sound(record, key) else None
    except (*_ABSENT, ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None


def _is_sound(record: Mapping[str, Any], key: str) -> bool:
    """Whether a record has the form that `seal` gives it; what has not may raise anything."""
    files = record["files"]
    return (
        record["layout"] == _LAYOUT
        and record["key"] == key
        and isinstance(record["provenance"], dict)
        and MODEL in files
        and all(
            _lies_below(name) and type(each["size"]) is int and isinstance(each["blake2b"], str)
            for name, each in files.items()
        )
    )


def _lies_below(name: str) -> bool:
    path = PurePosixPath(name)
    return not path.is_absolute() and ".." not in path.parts and "\0" not in name


def stamp(folder: Path, record: Mapping[str, Any]) -> tuple[tuple[str, int, int, int], ...] | None:
    """Identity of every file without reading it, or None when one is missing or has another size.

    Raises:
        OSError: the disk refuses.
    """
    found = []
    try:
        for name, expected in sorted(record["files"].items()):
            status = os.lstat(folder / name)
            if not stat.S_ISREG(status.st_mode) or status.st_size != expected["size"]:
                return None
            found.append((name, status.st_ino, status.st_size, status.st_mtime_ns))
    except _ABSENT:
        return None
    return tuple(found)


def is_intact(folder: Path, record: Mapping[str, Any]) -> bool:
    """Whether every file still has the digest it was sealed with.

    Raises:
        OSError: one is there and cannot be read.
    """
    try:
        return all(file_digest(folder / name) == expected["blake2b"] for name, expected in record["files"].items())
    except _ABSENT:
        return False


def discard(folder: Path, temporary: Path) -> None:
    """Remove a folder so that nobody ever sees half of it: out of the way in one step, then piece by piece.

    Raises:
        OSError: it cannot be moved.
    """
    os.rename(folder, temporary)
    if temporary.is_dir() and not temporary.is_symlink():
        shutil.rmtree(temporary, ignore_errors=True)
    else:
        temporary.unlink()


def disk_size(folder: Path) -> int:
    """Bytes of all files below ``folder``; files that vanish meanwhile count nothing."""
    total = 0
    for path in folder.rglob("*"):
        try:
            total += path.lstat().st_size
        except OSError:
            continue
    return total


def file_digest(path: Path) -> str:
    """blake2b of a file's bytes.

    Raises:
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=32)).hexdigest()


def _own(path: Path) -> None:
    """Replace a link by a copy: what an exporter linked to is the user's, and neither ours to freeze nor to trust."""
    if path.is_symlink() or path.stat().st_nlink > 1:
        copy = path.with_name(f"{path.name}.copy")
        shutil.copyfile(path, copy)
        os.replace(copy, path)


def _text_digest(text: str) -> str:
    return hashlib.blake2b(text.encode(), digest_size=32).hexdigest()


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
