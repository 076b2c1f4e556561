"""What the code in a TorchScript file may call: some of it runs when the file is merely read (``__setstate__``)."""

from __future__ import annotations

import re
from pathlib import Path

from pytest_onnxprep.errors import SourceError
from pytest_onnxprep.runtime.once import once_per_file
from pytest_onnxprep.sources.torch_operators import ACT
from pytest_onnxprep.sources.torch_reader import Reader

#: Bytes of all texts: the code of a large model is some MB.
_LARGEST_CODE = 256 << 20
#: What may stand between the words of a name that is written out.
_GAP = rb"(?:[\s\\]|#[^\n]*\n)*"
_DOT = _GAP + rb"\." + _GAP
#: Operators on files, processes and raw memory, by names that nothing else has; ``save`` only where it is a part of
#: something, whatever that is called: TorchScript lets a module be given another name.
_NAMES = (
    b"from_file load_tensor rpc_async rpc_sync rpc_remote PythonOp IgnoredPythonOp resize_storage_bytes_"
    b" create_owned_ref"
)
_OUTSIDE = re.compile(
    rb"(?<![\w])(?:" + rb"|".join(_NAMES.split()) + rb")(?!\w)|\." + _GAP + rb"save(?!\w)|"
    rb"(?<!\w)ops" + _DOT + rb"(?:" + "|".join(sorted(ACT - {"prim"})).encode() + rb")(?!\w)"
)
#: How torch writes a part whose name is no word: ``getattr(self.layers, "0")``. Written otherwise it may name anything.
_PART = re.compile(rb'getattr\([\w.]+, "([^"\\\n]*)"\)')
_DEEPEST = 64
#: Classes of the same kind, in code and where objects are kept.
_CLASSES = re.compile(rb"torch" + _DOT + rb"classes" + _DOT + rb"(?:c10d|dist_c10d|dist_rpc|profiling|caffe2)(?!\w)")
#: Entries that hold numbers alone, records of where code came from, and what the user put beside the model.
_NO_CODE = re.compile(
    r"(data|constants|tensors)/\d+|.+\.debug_pkl|extra/.+|byteorder|version|\.data/.+|\.format_version"
)


@once_per_file
def check_script(path: Path) -> None:
    """Refuse a file whose code acts on more than tensors.

    Raises:
        SourceError: it does, or the archive is damaged.
    """
    reader = Reader(path, again="torch.jit.save")
    total = 0
    for name in reader.names:
        if _NO_CODE.fullmatch(name):
            continue
        text = reader.text(name, _LARGEST_CODE)
        total += len(text)
        if total > _LARGEST_CODE:
            raise SourceError(f"source {str(path)!r} is refused: it holds more than {_LARGEST_CODE >> 20} MB of code")
        found = _CLASSES.search(text) or (None if name.endswith(".pkl") else _outside(text))
        if found:
            line = text[text.rfind(b"\n", 0, found.start()) + 1 :].split(b"\n", 1)[0]
            raise SourceError(
                f"source {str(path)!r} is refused: its code ({name}) may act on files, processes or memory "
                f"({_shown(line)}); nothing of it was run. A method or attribute of your own that is named 'save' "
                "needs another name"
            )


def _outside(text: bytes) -> re.Match[bytes] | None:
    """The first name in a text of code that acts on more than tensors."""
    found = _OUTSIDE.search(text)
    if found or b"getattr" not in text:
        return found
    plain = text
    for _ in range(_DEEPEST):  # from the inside out
        plain, replaced = _PART.subn(_part, plain)
        if not replaced or b"getattr(" not in plain:
            break
    return re.search(rb"getattr", text) if b"getattr" in plain else None


def _part(found: re.Match[bytes]) -> bytes:
    name = found.group(1)
    acts = name == b"save" or name in _NAMES.split() or name.decode("utf-8", "replace") in ACT
    return b"getattr" if acts else b"part"


def _shown(line: bytes) -> str:
    return repr("".join(c for c in line.decode("utf-8", "replace").strip() if c.isprintable())[:100])
