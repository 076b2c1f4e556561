"""Arrays in ``.npz`` files: written so that no pickle is needed, read within limits."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import numpy as np

#: What the arrays of one file may take, unpacked: a small file may hold any number of zeros.
LARGEST_BYTES = 4 << 30


def save_arrays(path: Path, arrays: Mapping[str, np.ndarray]) -> dict[str, str]:
    """Save under the tensors' own names where a file can hold them (not ``a/b:0``).

    Text is kept as unicode, bfloat16 as float32.

    Returns:
        Key in the file -> tensor name.
    """
    keys = {_key(name, index): name for index, name in enumerate(arrays)}
    safe = {key: _plain(arrays[name]) for key, name in keys.items()}
    with path.open("wb") as file:
        np.savez(file, **cast(Any, safe))
    return keys


def load_arrays(path: Path) -> dict[str, np.ndarray]:
    """Read all arrays of a file.

    Raises:
        ValueError: it is no ``.npz`` file, damaged, beyond `LARGEST_BYTES`, or holds Python objects.
        OSError: it cannot be read.
    """
    if not path.is_file():
        raise ValueError("it is no file" if path.exists() else "it does not exist")
    try:
        with zipfile.ZipFile(path) as archive:
            size = sum(entry.file_size for entry in archive.infolist())
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError) as error:
        raise ValueError(f"it is no .npz file, as numpy.savez writes it, or damaged ({error})") from error
    if size > LARGEST_BYTES:
        raise ValueError(f"its arrays take {size / 1e9:.1f} GB; at most {LARGEST_BYTES / 1e9:.1f} GB are read")
    try:
        with np.load(path, allow_pickle=False) as file:
            return {key: file[key] for key in file.files}
    except OSError:
        raise
    except Exception as error:
        if "allow_pickle" in str(error) or "Object arrays" in str(error):
            raise ValueError("it holds Python objects, which are not read: save plain arrays") from error
        raise ValueError(f"it is damaged: {error}") from error


def as_declared(array: np.ndarray, dtype: str) -> np.ndarray:
    """A float32 array as the bfloat16 that a file could not hold, where that changes no number."""
    if dtype != "bfloat16" or array.dtype.name != "float32":
        return array
    import ml_dtypes

    narrow: np.ndarray = array.astype(ml_dtypes.bfloat16)
    return narrow if np.array_equal(narrow.astype(np.float32), array, equal_nan=True) else array


def _key(name: str, index: int) -> str:
    """``file`` and ``allow_pickle`` are parameters of ``np.savez``."""
    return name if re.fullmatch(r"[\w.]+", name) and name not in ("file", "allow_pickle") else f"t{index}"


def _plain(array: np.ndarray) -> np.ndarray:
    if array.dtype.kind == "O":
        return array.astype(str)
    return array.astype(np.float32) if array.dtype.name == "bfloat16" else array
