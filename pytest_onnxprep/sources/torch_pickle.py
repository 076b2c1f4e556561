"""What a checkpoint would call when it is read, told from the operation codes of its pickles."""

from __future__ import annotations

import io
import pickletools
import sys
import zipfile
import zlib
from pathlib import Path
from typing import NamedTuple

from pytest_onnxprep.errors import SourceError

#: Bytes and operations of the part that names objects: some 40 operations a tensor. The numbers stand elsewhere.
_LARGEST = 64 << 20
_MOST_OPERATIONS = 4_000_000
#: torch's old format is five pickles in a row, and numbers after them.
_PICKLES = 5


class Named(NamedTuple):
    """The classes and functions, ``module.name`` each, and whether the pickles could be followed to their ends."""

    names: list[str]
    whole: bool


def named_in_pickle(path: Path) -> Named:
    """What a file would call; read, not run.

    Raises:
        SourceError: it is damaged, or larger than what names tensors can be.
    """
    data = _pickle_of(path)
    file = io.BytesIO(data)
    found: dict[str, None] = {}
    operations = 0
    for _ in range(_PICKLES):
        if not data.startswith(b"\x80", file.tell()):
            break
        before = last = ""  # a name's two parts are the last texts before it
        try:
            for code, argument, _position in pickletools.genops(file):
                operations += 1
                if operations > _MOST_OPERATIONS:
                    raise _too_large(path)
                if code.name in ("GLOBAL", "INST"):
                    found[str(argument).replace(" ", ".")] = None
                elif code.name == "STACK_GLOBAL":
                    found[f"{before}.{last}"] = None
                elif isinstance(argument, str):
                    before, last = last, argument
        except SourceError:
            raise
        except Exception:  # cut off: what was named before counts
            return Named(list(found), False)
    return Named(list(found), True)


def is_nowhere(name: str) -> bool:
    """Whether a name can be that of nothing: its characters say so, or its module is loaded and lacks it."""
    module, _, attribute = name.rpartition(".")
    if not all(part.isidentifier() for part in name.split(".")):
        return True
    loaded = sys.modules.get(module)
    if loaded is None:
        top = module.partition(".")[0]
        return top in ("torch", "collections", "builtins", "_codecs") and module not in _KNOWN_LATE
    return not hasattr(loaded, attribute)


#: Modules of torch's that old checkpoints name, and that are loaded when they are needed.
_KNOWN_LATE = frozenset(("torch.distributed", "torch.optim", "torch.ao", "torch.quantization"))


def _pickle_of(path: Path) -> bytes:
    if not zipfile.is_zipfile(path):
        with path.open("rb") as file:
            return file.read(_LARGEST)
    try:
        with zipfile.ZipFile(path) as archive:
            info = next((info for info in archive.infolist() if info.filename.endswith("/data.pkl")), None)
            if info is None:
                return b""
            if info.file_size > _LARGEST:
                raise _too_large(path)
            return archive.read(info)
    except (zipfile.BadZipFile, OSError, ValueError, EOFError, NotImplementedError, zlib.error) as error:
        raise SourceError(f"source {str(path)!r} is damaged: {error}; copy it again") from None


def _too_large(path: Path) -> SourceError:
    return SourceError(
        f"source {str(path)!r} is refused: what names its tensors takes more than {_LARGEST >> 20} MB or "
        f"{_MOST_OPERATIONS} operations, far more than weights need; it was not read"
    )
