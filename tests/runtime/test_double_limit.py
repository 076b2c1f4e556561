"""Work that is given up when its time is up."""

from __future__ import annotations

import threading
import time

import pytest

from pytest_onnxprep.runtime.double_limit import within


def test_the_result_is_handed_on():
    """The result is handed on."""
    assert within(5, lambda: 3) == 3


def test_the_works_own_exception_is_raised():
    """The work's own exception is raised."""
    with pytest.raises(ZeroDivisionError):
        within(5, lambda: 1 // 0)


def test_endless_work_ends():
    """Endless work ends."""
    ticks = []

    def endless():
        while True:
            ticks.append(0)
            time.sleep(0.001)

    with pytest.raises(TimeoutError, match="longer than"):
        within(0.05, endless)
    counted = len(ticks)
    time.sleep(0.05)
    assert len(ticks) == counted


def test_a_long_call_into_compiled_code_is_left_behind():
    """A long call into compiled code is left behind."""
    blocked = threading.Lock()
    with blocked:  # the work waits in compiled code, where no exception reaches it, until long after
        with pytest.raises(TimeoutError):
            within(0.05, blocked.acquire)
        left = [thread for thread in threading.enumerate() if thread.name == "onnxprep-float64"]
    assert left
    for thread in left:
        thread.join()


def test_what_is_not_python_is_stopped_from_outside():
    """What is not python is stopped from outside."""
    stopped = []
    with pytest.raises(TimeoutError):
        within(0.05, lambda: time.sleep(0.2), lambda: stopped.append(True))
    assert stopped
