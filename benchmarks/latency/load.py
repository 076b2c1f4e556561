"""Neighbours on the machine: processes that burn CPU or memory bandwidth while something is measured."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

_HOGS = {
    "cpu": "while True: sum(range(10000))",
    "memory": "import numpy as n; a = n.zeros(1 << 23); b = a.copy()\nwhile True: b[:] = a; a[:] = b",
}
#: Who is there, one after the other: one to three neighbours of either kind.
CROWDS = (
    ("cpu",),
    ("memory",),
    ("cpu", "cpu"),
    ("cpu", "memory"),
    ("cpu", "cpu", "memory"),
    ("memory", "memory", "cpu"),
)


@contextmanager
def neighbours(kinds: Sequence[str]) -> Iterator[None]:
    """Run these while it lasts."""
    running = [subprocess.Popen([sys.executable, "-c", _HOGS[kind]]) for kind in kinds]
    try:
        time.sleep(0.5 if running else 0)
        yield
    finally:
        for process in running:
            process.kill()
            process.wait()
