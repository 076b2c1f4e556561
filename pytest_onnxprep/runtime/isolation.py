"""``--onnxprep-isolate``: what may crash, hang or eat all memory is tried in a process of its own first.

ONNX Runtime and the exporters are native code. What goes wrong in them can end the process: the run with all its other
tests. A child that dies is a message instead.
"""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pytest_onnxprep.runtime.once import identity

#: Seconds that loading a file and running it once may take.
LOAD_S = 120.0
#: Memory that loading a file may take beside three times the size of its files.
LOAD_BYTES = 4_000_000_000
#: How the child says that ONNX Runtime refuses a file.
REFUSED = 3
_LAST_WORDS = 4000

_SIGNALS = {
    "SIGSEGV": "segmentation fault",
    "SIGABRT": "aborted",
    "SIGBUS": "bus error",
    "SIGILL": "illegal instruction",
    "SIGFPE": "arithmetic fault",
    "SIGKILL": "killed from outside, mostly because memory ran out",
    "SIGXCPU": "took too much CPU time",
}


class LoadRefusedError(Exception):
    """The file does not load, or the child that loaded it died; the text says which."""


class _State:
    """One switch for the process, as there is one command line."""

    enabled = False
    proven: dict[tuple[object, ...], str] = {}  # noqa: RUF012 - shared on purpose


@dataclass(frozen=True)
class Ended:
    """How a child ended.

    Args:
        status: its exit status; negative after a signal; None where it took too long and was killed.
        output: the end of what it wrote to stderr.
        told: the end of what it wrote to stdout.
    """

    status: int | None
    output: str
    told: str = ""

    def words(self, limit_s: float) -> str:
        """What became of it, as the end of a sentence."""
        if self.status is None:
            return f"took longer than {limit_s:g} s and was stopped"
        if self.status >= 0:
            return f"ended the process with exit status {self.status}"
        try:
            name = signal.Signals(-self.status).name
        except ValueError:
            name = f"signal {-self.status}"
        return f"crashed with {name}" + (f" ({_SIGNALS[name]})" if name in _SIGNALS else "")


def enable(on: bool) -> None:
    """Switch isolation on or off for this process."""
    _State.enabled = on


def run_child(module: str, arguments: Sequence[str], limit_s: float) -> Ended:
    """Run a module of this package in a fresh interpreter and wait for it.

    Args:
        module: with a ``main`` of its own.
        arguments: for its command line.
        limit_s: seconds after which it is killed.
    """
    own = str(Path(__file__).resolve().parents[2])
    start = f"import sys, runpy; sys.path.insert(0, {own!r}); runpy.run_module({module!r}, run_name='__main__')"
    try:
        done = subprocess.run(  # noqa: S603 - this very interpreter
            [sys.executable, "-X", "faulthandler", "-c", start, *arguments],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=limit_s,
            check=False,
        )
    except subprocess.TimeoutExpired as late:
        return Ended(None, _end(late.stderr))
    return Ended(done.returncode, _end(done.stderr), _end(done.stdout))


def prove(path: Path, *, optimized: bool = True) -> None:
    """Where isolation is on: load a file in a child, and run it there once on zeros, before it is loaded here.

    Raises:
        LoadRefusedError: ONNX Runtime refuses the file, crashes on it, or asks for too much time or memory.
    """
    if not _State.enabled:
        return
    key = (*identity(path), optimized)
    if key not in _State.proven:
        ended = run_child("pytest_onnxprep.runtime.isolated_load", [str(path), str(int(optimized))], LOAD_S)
        if ended.status == REFUSED:
            _State.proven[key] = ended.told.strip() or "it does not load"
        elif ended.status != 0:
            _State.proven[key] = f"ONNX Runtime {ended.words(LOAD_S)} (in a child process: --onnxprep-isolate)"
        else:
            _State.proven[key] = ""
    if _State.proven[key]:
        raise LoadRefusedError(_State.proven[key])


def _end(output: bytes | None) -> str:
    return (output or b"")[-_LAST_WORDS:].decode("utf-8", "replace")
