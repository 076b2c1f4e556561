"""Kept answers of the framework: a file that is damaged, or no file of ours, counts for nothing and is written anew."""

from __future__ import annotations

import io
import os
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from pytest_onnxprep.artifacts.reference_outputs import ReferenceOutputs

ANSWERS = {"one": {"y": np.arange(6, dtype=np.float32)}, "two": {"y": np.ones(2, np.float32), "z": np.zeros(0)}}


def flipped(offset: int, bits: int) -> Callable[[Path], None]:
    """Other bits in the central directory of the archive."""

    def damage(path: Path) -> None:
        data = bytearray(path.read_bytes())
        data[data.rfind(b"PK\x01\x02") + offset] ^= bits
        path.write_bytes(data)

    return damage


def packed(path: Path) -> None:
    """Answers that unpack to more than they take."""
    np.savez_compressed(path, **{"one|y": np.zeros(1_000_000)})


def absurd(path: Path) -> None:
    """An array of terabytes of which nothing is there."""
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f4", "fortran_order": False, "shape": (1 << 42,)})
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("one|y.npy", header.getvalue())


def plain(path: Path) -> None:
    """One array, and no archive."""
    with path.open("wb") as file:
        np.save(file, np.ones(3))


def pipe(path: Path) -> None:
    """Whoever reads it waits for ever."""
    path.unlink()
    os.mkfifo(path)


@pytest.mark.parametrize(
    "damage",
    [
        flipped(10, 0x63),  # the method of compression
        flipped(8, 1),  # encrypted
        flipped(24, 0xFF),  # the size
        packed,
        absurd,
        plain,
        pipe,
        lambda path: path.write_bytes(path.read_bytes()[:-30]),
        lambda path: path.write_bytes(b""),
    ],
)
def test_what_is_damaged_counts_for_nothing(tmp_path: Path, damage: Callable[[Path], None]) -> None:
    """No error, no memory, no waiting; the next run finds what this one writes."""
    kept = ReferenceOutputs(tmp_path, "ab" * 8, "recipes")
    kept.save(ANSWERS)
    damage(kept.path)

    assert kept.load() == {}
    kept.save(ANSWERS)
    assert {example: sorted(arrays) for example, arrays in kept.load().items()} == {"one": ["y"], "two": ["y", "z"]}
