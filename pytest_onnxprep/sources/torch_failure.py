"""Why torch could not read a file or run it, in a line that means something to whoever has the file."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from pytest_onnxprep.runtime.once import identity
from pytest_onnxprep.sources.trial import failure_of, limits

#: What torch says where operators, classes or structures of the user's are not registered.
_LACKING = re.compile(
    r"Unknown builtin op: (?!aten|prim)|Unknown (type name|class) '?__torch__\.torch\.classes|custom class"
    r"|failed to resolve|is not registered|Deserializing|couldn't find a serializ"
)
#: What it says of files that are whole, and of another version.
_WHOLE = re.compile(r"maximum supported version|schema version|archive version|opset version|not supported")
#: What its messages have around their meaning: places in its own sources, and requests to report a bug.
_AROUND = re.compile(
    r"\[enforce fail at [^\]]*\][^.:]*[.:]"
    r"|\S* ?INTERNAL ASSERT FAILED at \"[^\"]*\":\d+, please report a bug to PyTorch\.?"
    r"|,? ?please report (this|a bug)[^.]*\.?"
    r"|This is an internal miniz error[^.]*\.?"
    r"|If you are seeing this error[^.]*\.?"
    r"|\(?Exception raised from .*"
    r"|This can happen if the checkpoint was not saved properly.*"
    r"|\(Could this error message be improved.*"
    r"|expected %ld got %ld.*"
    r"|\x1b\[[0-9;]*m",
    re.DOTALL,
)
_OURS = ("it did not come to an end", "the native code that reads it crashes", "it takes more than", "the process that")

_known: dict[tuple[object, ...], str] = {}


def of(work: Callable[..., None], path: Path) -> str:
    """Try a file out in a child process, once until it changes.

    Returns:
        What a message goes on with after its name. Nothing where all went well, and where the file asks for what the
        user may have registered in this process alone: it is then read here, and torch says what it lacks.
    """
    key = (work.__name__, *identity(path))
    if key not in _known:
        failed = failure_of(work, str(path), **limits(path.stat().st_size))
        _known[key] = "" if not failed or _LACKING.search(failed) else said(failed, work.__name__)
    return _known[key]


def said(failed: str, work: str) -> str:
    """What a message goes on with, of an error of ``try_script`` and its like."""
    ours = re.match(r"source '.*?' (is (?:damaged|refused): .*|cannot be read .*)", failed, re.DOTALL)
    if ours:
        return ours.group(1)
    if failed.startswith(_OURS):
        return f"is not read here, as in a process of its own {failed}; it is damaged, or made to do harm"
    call = {"try_script": "torch.jit", "try_program": "torch.export"}.get(work, "torch")
    if _WHOLE.search(failed) or _LACKING.search(failed):
        return f"cannot be read by {call}.load: {reason(failed)}"
    return f"is damaged: {reason(failed)}; copy it, or save it with {call}.save, again"


def named_global(text: str) -> str:
    """The object that torch refused, in its message."""
    _, found, rest = text.partition("GLOBAL ")
    return rest.split()[0] if found and rest.split() else "a pickle of more than tensors"


def reason(text: str, limit: int = 300) -> str:
    """The first line of torch's that says what was wrong; after a traceback the last one."""
    if "Traceback (most recent call last)" in text or "Traceback of TorchScript" in text:
        lines = [line for line in text.splitlines() if line.strip() and not line.startswith((" ", "\t"))]
        text = next((line for line in reversed(lines) if ":" in line and "Traceback" not in line), text)
    if "Weights only load failed" in text:  # and advice to load it without that safety
        text = text.partition("WeightsUnpickler error:")[2].partition("\n")[0]
    plain = _AROUND.sub(" ", text)
    lines = [" ".join(line.split()).strip(" .:") for line in plain.splitlines()]
    found = next((line for line in lines if line and re.search("[A-Za-z]{3}", line)), "torch cannot follow it")
    found = "".join(character if character.isprintable() else "?" for character in found)
    return found if len(found) <= limit else f"{found[: limit - 1]}…"
