"""Work that is given up when it takes too long, wherever it is at the time."""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable
from typing import Any, Generic, TypeVar

T = TypeVar("T")

#: How long the work may take to notice; a call into compiled code that takes longer is left to end by itself.
GRACE_S = 0.5


def within(seconds: float, work: Callable[[], T], stop: Callable[[], None] = lambda: None) -> T:
    """Do the work in a thread of its own; return what it returns.

    Args:
        seconds: how long it may take.
        work: is interrupted between any two of its bytecodes.
        stop: called from outside when the time is up, to end what is not Python.

    Raises:
        TimeoutError: it took longer.
        Exception: whatever the work raises.
    """
    worker = _Worker(work)
    worker.start()
    late = True
    try:
        worker.join(seconds)
        late = worker.is_alive()
    finally:
        if late:
            stop()
            worker.interrupt()
    if late:
        raise TimeoutError(f"it took longer than {seconds:g} s")
    if worker.error is not None:
        raise worker.error
    return worker.value


class _Worker(threading.Thread, Generic[T]):
    value: T

    def __init__(self, work: Callable[[], T]) -> None:
        super().__init__(name="onnxprep-float64", daemon=True)
        self._work = work
        self._lock = threading.Lock()
        self._over = False
        self._ended = threading.Lock()
        self._ended.acquire()
        self.error: BaseException | None = None

    def run(self) -> None:
        try:
            try:
                self.value = self._work()
            except BaseException as error:  # raised again by whoever waits
                self.error = error
            with self._lock:
                self._over = True
            for _ in range(2):  # where an interruption that was on its way arrives
                pass
        except TimeoutError:
            pass
        finally:
            self._ended.release()

    def interrupt(self) -> None:
        """Raise a TimeoutError inside the work, and give it time to end."""
        interrupt: Any = ctypes.pythonapi.PyThreadState_SetAsyncExc
        worker, waiter = ctypes.c_ulong(self.ident or 0), ctypes.c_ulong(threading.get_ident())
        late, received = ctypes.py_object(TimeoutError), ctypes.py_object(_Received)
        wait = self._ended.acquire
        with self._lock:
            if self._over or self.ident is None:
                return
            interrupt(worker, late)
        # While the exception is on its way, CPython 3.11 under a tracer (coverage, a debugger) enters no function in
        # any thread, and it does not reach work in compiled code: nothing is entered here until that state is cleared,
        # by an exception for this very thread.
        try:
            wait(True, GRACE_S)
            interrupt(waiter, received)
            for _ in range(3):  # where it arrives
                pass
        except _Received:
            pass


class _Received(Exception):
    """Tells the interpreter that an exception from outside has arrived."""
