"""Runs of ONNX Runtime that never end are ended: a graph may loop for ever on some inputs, and not on the first ones.

One thread looks once a second whether the run in progress is past its time; a run itself only writes down a number.
There is such a thread while a check wants it, and none while anything is timed.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from pytest_onnxprep.errors import OnnxPrepError

#: What one run may take: seconds, or so many times what the first one took, whichever is more.
SECONDS = 120.0
TIMES_FIRST = 100.0
_LOOK_S = 1.0
_FATAL_ONLY = 4


class _Watch:
    """Of one check."""

    def __init__(self) -> None:
        import onnxruntime

        self.deadline = math.inf
        self.firsts: dict[str, float] = {}
        self.options = onnxruntime.RunOptions()
        self.options.log_severity_level = _FATAL_ONLY
        self.done = threading.Event()
        self.thread = threading.Thread(target=self._look, name="onnxprep-watchdog", daemon=True)
        self.thread.start()

    def run(self, call: Callable[..., Any], names: Sequence[str] | None, feeds: Mapping[str, Any], what: str) -> Any:
        first = self.firsts.get(what)
        limit = SECONDS if first is None else max(SECONDS, TIMES_FIRST * first)
        started, before = time.monotonic(), self.deadline
        self.deadline = started + limit
        try:
            return call(names, feeds, self.options)
        except Exception as error:
            if not self.options.terminate:
                raise
            raise OnnxPrepError(
                f"{what}: a run was stopped, as it did not come to an end within {limit:.0f} s; the graph may loop for "
                "ever on some inputs. Look at the conditions of its loops, or give inputs that it is made for "
                "(TensorSpec(low=, high=))"
            ) from error
        finally:
            self.deadline = before
            if first is None:
                self.firsts[what] = time.monotonic() - started

    def _look(self) -> None:
        while not self.done.wait(_LOOK_S):
            if time.monotonic() > self.deadline:
                self.options.terminate = True  # stays so: what runs after it is of no use, and may not end either

    def end(self) -> None:
        self.done.set()
        self.thread.join()


_watches: list[_Watch] = []


@contextmanager
def watching() -> Iterator[None]:
    """End what `run` runs in the block when it takes absurdly long."""
    if _watches:  # of the whole, while its parts are checked
        yield
        return
    _watches.append(_Watch())
    try:
        yield
    finally:
        _watches.pop().end()


def run(call: Callable[..., Any], names: Sequence[str] | None, feeds: Mapping[str, Any], what: str) -> Any:
    """Call ``session.run``, watched where somebody asked for it.

    Args:
        call: ``run`` of a session.
        names: of the outputs.
        feeds: the inputs.
        what: the model, for the message, and to tell its runs from those of others.

    Raises:
        OnnxPrepError: it was stopped.
    """
    return _watches[0].run(call, names, feeds, what) if _watches else call(names, feeds)
