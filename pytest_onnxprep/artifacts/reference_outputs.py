"""What the framework answered in earlier runs, kept beside the exports: a warm run asks it only for what is new.

An answer holds for one export key (weights, configuration, code, versions: see `exporters.export_key`) and one set of
value recipes. Whoever reads answers checks them: the first examples of every run are run live, and so is an example
that fails, before it is believed.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
import uuid
from collections.abc import Mapping
from pathlib import Path
from zipfile import ZIP_STORED, ZipFile

import numpy as np

Arrays = Mapping[str, np.ndarray]

#: Bytes kept per file. Corners of a small segmentation network take 10 MB.
LARGEST_BYTES = 32_000_000


class ReferenceOutputs:
    """The kept answers of one export, in one ``.npz`` file.

    Args:
        folder: of the cache.
        key: of the export.
        examples: what tells sets of examples apart: recipes, magnitudes, special values.
    """

    def __init__(self, folder: Path, key: str, examples: str) -> None:
        digest = hashlib.blake2b(examples.encode(), digest_size=8).hexdigest()
        self.path = folder / key[:2] / f"{key}-{digest}.npz"

    def load(self) -> dict[str, Arrays]:
        """Example -> output name -> array; empty where there is no file, or one that cannot be read."""
        found: dict[str, dict[str, np.ndarray]] = {}
        try:
            status = self.path.lstat()
            if not stat.S_ISREG(status.st_mode) or status.st_size > 2 * LARGEST_BYTES:
                return {}
            with ZipFile(self.path) as archive:
                if any(entry.compress_type != ZIP_STORED for entry in archive.infolist()):
                    return {}  # not ours: it may unpack to anything
            with np.load(self.path, allow_pickle=False) as entries:
                for entry in entries.files:
                    example, _, output = entry.partition("|")
                    found.setdefault(example, {})[output] = entries[entry]
        except Exception:  # whatever a damaged archive or array gives: it is written anew
            return {}
        return dict(found)

    def save(self, outputs: Mapping[str, Arrays]) -> None:
        """Write the answers whole or not at all; a disk that takes nothing more costs the next run some time."""
        entries: dict[str, np.ndarray] = {}
        room = LARGEST_BYTES
        for example, arrays in outputs.items():
            room -= sum(array.nbytes for array in arrays.values())
            if room < 0:
                break
            entries |= {f"{example}|{name}": array for name, array in arrays.items()}
        part = self.path.with_suffix(f".{os.getpid()}-{uuid.uuid4().hex[:8]}")
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with part.open("wb") as file:
                np.savez(file, **entries)  # type: ignore[arg-type]  # names are ours, none is ``file``
            part.replace(self.path)
        except (OSError, ValueError):  # ValueError: an array of objects, which would have to be pickled
            with contextlib.suppress(OSError):
                part.unlink()


def describable(outputs: Arrays) -> bool:
    """Whether a file can hold the outputs as they are: no text, and no float that is not NumPy's own."""
    return all(array.dtype.kind in "fiub" for array in outputs.values())
