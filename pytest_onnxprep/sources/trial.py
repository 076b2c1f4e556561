"""Try something out in a child process first: native code that reads a damaged file may end the process it runs in.

A process that runs models has threads, and a copy of it may wait for ever for one that it does not have. So one clean
child is started, loads what the trials need, and copies itself for each of them; it ends with this process.
"""

from __future__ import annotations

import atexit
import json
import os
import select
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from pytest_onnxprep.runtime.array_file import as_declared, load_arrays, save_arrays

#: What a trial of a file may take: seconds, and address space beyond what its process has and three times the file.
SECONDS = 60.0
MEMORY_BYTES = 4 << 30
#: Seconds for the child to load a framework, on a machine that is busy.
LOADING_S = 300.0


def limits(size: int, *, times: int = 1) -> dict[str, Any]:
    """The limits of `failure_of` for a file of so many bytes; at larger sizes so many times the memory, and longer."""
    return {"seconds": SECONDS * times**2, "memory": MEMORY_BYTES * times + 3 * size}


def failure_of(
    work: Callable[..., None], *arguments: Any, seconds: float = SECONDS, memory: int = 2 * MEMORY_BYTES
) -> str:
    """Call ``work`` in a child process; why it did not end well, or an empty string.

    Where the system knows no ``fork``, nothing is tried.

    Args:
        work: a function of a module; its module's ``prepare()`` is called once before.
        *arguments: what JSON can hold.
        seconds: after which it is ended.
        memory: bytes it may take beyond what its process has. It may write no file either.
    """
    if not hasattr(os, "fork"):
        return ""
    request = {
        "module": work.__module__,
        "function": work.__name__,
        "arguments": arguments,
        "seconds": seconds,
        "memory": memory,
    }
    with _LOCK:
        answer = _server().ask(request, seconds + LOADING_S)
        if answer is None:
            _stop()
    return "the process that tries it out did not answer" if answer is None else str(answer)


def failure_of_run(
    work: Callable[..., None], file: str, feeds: Mapping[str, np.ndarray], *extra: Any, **limits: Any
) -> str:
    """Call ``work(file, path, names, *extra)`` likewise, which gets the inputs by ``read_feeds(path, names)``.

    Args:
        work: a function of a module.
        file: the model.
        feeds: what it is to be run on.
        *extra: what JSON can hold.
        **limits: ``seconds`` and ``memory``, see `failure_of`.
    """
    with tempfile.TemporaryDirectory(prefix="onnxprep-trial-") as folder:
        path = Path(folder, "feeds.npz")
        names = {key: [name, feeds[name].dtype.name] for key, name in save_arrays(path, feeds).items()}
        return failure_of(work, file, str(path), names, *extra, **limits)


def read_feeds(path: str, names: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """The inputs that `failure_of_run` hands over."""
    arrays = load_arrays(Path(path))
    found = {}
    for key, (name, dtype) in names.items():
        array = as_declared(arrays[key], dtype)
        found[name] = array.astype(object) if dtype == "object" else array
    return found


class _Server:
    """The child, and the two pipes to it."""

    def __init__(self) -> None:
        environment = {
            **os.environ,
            "TF_CPP_MIN_LOG_LEVEL": "3",
            "TF_ENABLE_ONEDNN_OPTS": "0",  # its allocator waits ten seconds for memory that never comes
            "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
        }
        self.owner = os.getpid()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "pytest_onnxprep.sources.trial_server"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment,
            bufsize=0,
        )

    def ask(self, request: dict[str, Any], seconds: float) -> str | None:
        """One trial; None where the child is gone or silent."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        until = time.monotonic() + seconds
        said = b""
        try:
            self.process.stdin.write(json.dumps(request).encode() + b"\n")
            while not said.endswith(b"\n"):
                ready, _, _ = select.select([self.process.stdout], [], [], max(0.0, until - time.monotonic()))
                piece = os.read(self.process.stdout.fileno(), 1 << 16) if ready else b""
                if not piece:
                    return None
                said += piece
            return str(json.loads(said)["failure"])
        except (OSError, ValueError, KeyError):
            return None


_LOCK = threading.Lock()
_running: list[_Server] = []


def _server() -> _Server:
    if _running and (_running[0].owner != os.getpid() or _running[0].process.poll() is not None):
        _running.clear()
    if not _running:
        _running.append(_Server())
    return _running[0]


@atexit.register
def _stop() -> None:
    """End the child, unless it is that of the process this one was copied from."""
    while _running:
        server = _running.pop()
        if server.owner == os.getpid():
            server.process.kill()
            server.process.wait()
