"""Arrays in files: what comes back, and what is refused before it costs anything."""

from __future__ import annotations

import os
import zipfile

import ml_dtypes
import numpy as np
import pytest

from pytest_onnxprep.runtime import array_file
from pytest_onnxprep.runtime.array_file import as_declared, load_arrays, save_arrays


def test_what_comes_back(tmp_path):
    """Text as unicode, bfloat16 as float32, names no file could have under another key."""
    arrays = {"a/b:0": np.arange(3), "text": np.array(["x"], object), "half": np.ones(2, ml_dtypes.bfloat16)}

    keys = save_arrays(tmp_path / "a.npz", arrays)
    found = load_arrays(tmp_path / "a.npz")

    assert {keys[key]: found[key].dtype.kind for key in found} == {"a/b:0": "i", "text": "U", "half": "f"}


def test_only_what_bfloat16_has_becomes_bfloat16():
    """Another number would be another input."""
    assert as_declared(np.float32([1.5, np.nan]), "bfloat16").dtype.name == "bfloat16"
    assert as_declared(np.float32([1.001]), "bfloat16").dtype == np.float32
    assert as_declared(np.float32([1.5]), "float32").dtype == np.float32


def test_a_file_of_zeros_is_measured_first(tmp_path, monkeypatch):
    """A few kilobytes may unpack to any size."""
    monkeypatch.setattr(array_file, "LARGEST_BYTES", 1_000_000)
    np.savez_compressed(tmp_path / "bomb.npz", x=np.zeros(1_000_000, np.float32))

    with pytest.raises(ValueError, match=r"take 0\.0 GB; at most"):
        load_arrays(tmp_path / "bomb.npz")


def test_what_is_no_such_file(tmp_path):
    """Each is told as what it is, and nothing advises to unpickle it."""
    os.mkfifo(tmp_path / "pipe.npz")
    (tmp_path / "text.npz").write_text("hello")
    np.savez(tmp_path / "objects.npz", x=np.array([print], object))
    np.savez(tmp_path / "good.npz", x=np.zeros(1000))
    data = (tmp_path / "good.npz").read_bytes()
    (tmp_path / "cut.npz").write_bytes(data[: len(data) // 2])
    with zipfile.ZipFile(tmp_path / "header.npz", "w") as archive:
        archive.writestr("x.npy", b"\x93NUMPY\x01\x00\xff\xff")

    for name, words in {
        "pipe": "no file",
        "none": "does not exist",
        "text": r"no \.npz file",
        "objects": "Python objects",
        "cut": r"no \.npz file",
        "header": "damaged",
    }.items():
        with pytest.raises(ValueError, match=words) as raised:
            load_arrays(tmp_path / f"{name}.npz")
        assert "allow_pickle" not in str(raised.value)
