"""Try something out in a child process first: native code that reads a damaged file may end the process it runs in."""

from __future__ import annotations

import contextlib
import os
import signal
import time
import warnings
from collections.abc import Callable

#: Address space a trial may take beyond what the process has.
MEMORY_BYTES = 8 << 30
SECONDS = 60.0
_LONGEST = 4000


def failure_of(work: Callable[[], None], *, seconds: float = SECONDS, memory: int = MEMORY_BYTES) -> str:
    """Run ``work`` in a copy of this process; why it did not end well, or an empty string.

    The copy shares everything the process has loaded and is gone afterwards, so nothing it did is left behind but what
    it wrote to disk. Where the system knows no ``fork``, nothing is tried.

    Args:
        work: what to try; it must not wait for other threads, which the copy does not have.
        seconds: after which it is ended.
        memory: bytes it may take beyond what the process has.
    """
    if not hasattr(os, "fork"):
        return ""
    reading, writing = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of threads: the work starts with one, and waits for none
        child = os.fork()
    if not child:
        _run(work, writing, seconds, memory)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        said = _read(pipe.fileno(), time.monotonic() + seconds + 5)
    if said is None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    if said is None or (os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGALRM):
        return f"it did not come to an end within {seconds:.0f} s"
    if os.WIFSIGNALED(status):
        return f"the native code that reads it crashes ({signal.Signals(os.WTERMSIG(status)).name})"
    return said.decode("utf-8", "replace") if os.WEXITSTATUS(status) else ""


def _run(work: Callable[[], None], pipe: int, seconds: float, memory: int) -> None:
    """The child: quiet, limited, and gone without running anybody's exit handlers."""
    status = 1
    try:
        import faulthandler
        import resource

        faulthandler.disable()  # a crash is an answer here, not news
        nowhere = os.open(os.devnull, os.O_RDWR)
        for descriptor in (0, 1, 2):
            os.dup2(nowhere, descriptor)
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.setitimer(signal.ITIMER_REAL, seconds)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        with contextlib.suppress(OSError, ValueError):  # already under a lower limit
            resource.setrlimit(resource.RLIMIT_AS, (_address_space() + memory,) * 2)
        try:
            work()
            status = 0
        except MemoryError:
            os.write(pipe, f"it takes more than {memory >> 30} GB of memory".encode())
        except BaseException as error:  # noqa: BLE001 - told to the parent
            os.write(pipe, (str(error) or type(error).__name__).encode("utf-8", "replace")[:_LONGEST])
    finally:
        os._exit(status)


def _address_space() -> int:
    with open("/proc/self/statm", "rb") as file:
        return int(file.read().split()[0]) * os.sysconf("SC_PAGE_SIZE")


def _read(descriptor: int, until: float) -> bytes | None:
    """What the child says until it is gone; None where that takes too long."""
    import select

    said = b""
    while True:
        ready, _, _ = select.select([descriptor], [], [], max(0.0, until - time.monotonic()))
        if not ready:
            return None
        piece = os.read(descriptor, 1 << 16)
        if not piece:
            return said
        said += piece
