"""The child of `trial`: loads what a trial needs, and runs each one in a copy of itself.

Reads one JSON object a line from standard input, ``{"module", "function", "arguments", "seconds", "memory"}``, and
answers with ``{"failure": ""}`` or why it did not end well. Ends with its standard input.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import signal
import sys
import tempfile
import time
from typing import Any

_LONGEST = 4000


def main() -> None:
    """Serve until nobody asks any more."""
    answers = os.dup(1)
    nowhere = os.open(os.devnull, os.O_RDWR)
    os.dup2(nowhere, 1)  # whatever a framework prints is no answer
    tempfile.gettempdir()  # found by writing a file, which a trial may not
    prepared: set[str] = set()
    for line in sys.stdin:
        request = json.loads(line)
        try:
            module = importlib.import_module(request["module"])
            if request["module"] not in prepared:
                prepared.add(request["module"])
                getattr(module, "prepare", lambda: None)()
            failure = run(getattr(module, request["function"]), request)
        except Exception as error:
            failure = f"{type(error).__name__}: {error}"
        os.write(answers, json.dumps({"failure": failure}).encode() + b"\n")


def run(work: Any, request: dict[str, Any]) -> str:
    """One trial in a copy of this process."""
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        _child(work, request, writing)
    os.close(writing)
    started = time.monotonic()
    with os.fdopen(reading, "rb") as pipe:
        said = pipe.read()  # until it is gone: its own alarm ends it
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        ending = os.WTERMSIG(status)
        if ending in (signal.SIGALRM, signal.SIGXCPU) or time.monotonic() - started >= request["seconds"]:
            return f"it did not come to an end within {request['seconds']:.0f} s"
        return f"the native code that reads it crashes ({signal.Signals(ending).name})"
    return said.decode("utf-8", "replace") if os.WEXITSTATUS(status) else ""


def _child(work: Any, request: dict[str, Any], pipe: int) -> None:
    """Limited, and gone without running anybody's exit handlers."""
    status = 1
    memory = int(request["memory"])
    try:
        import resource

        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.setitimer(signal.ITIMER_REAL, request["seconds"])
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # writing is an error then, not the end
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
        with contextlib.suppress(OSError, ValueError):  # already under a lower limit
            resource.setrlimit(resource.RLIMIT_AS, (_address_space() + memory,) * 2)
        try:
            work(*request["arguments"])
            status = 0
        except MemoryError:
            os.write(pipe, f"it takes more than {memory >> 30} GB of memory".encode())
        except BaseException as error:
            os.write(pipe, (str(error) or type(error).__name__).encode("utf-8", "replace")[:_LONGEST])
    finally:
        os._exit(status)


def _address_space() -> int:
    with open("/proc/self/statm", "rb") as file:
        return int(file.read().split()[0]) * os.sysconf("SC_PAGE_SIZE")


if __name__ == "__main__":
    main()
