"""Hand samples that are already taken to pytest-benchmark, through its public interface only.

Its statistics, tables, storage and JSON then hold exactly our samples: the timer it is given replays them.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Sequence
from typing import Any

from pytest_onnxprep.errors import OnnxPrepError


class ReplayClock:
    """A timer for ``pytest.mark.benchmark(timer=clock)`` that can be told later what to measure.

    While it holds samples, alternate calls give a start and that start plus the next sample; the start is always 0.0,
    so the difference is the sample to the last bit. Before and after that it is ``time.perf_counter``.
    """

    def __init__(self) -> None:
        #: What pytest-benchmark calls the timer in its output.
        self.__name__ = "replayed_samples"
        self._pending: deque[float] = deque()
        self._is_running = False

    def load(self, samples: Sequence[float]) -> None:
        """Replay these from the next call on, in place of any that are left.

        Args:
            samples: seconds.
        """
        self._pending = deque(float(seconds) for seconds in samples)
        self._is_running = False

    @property
    def left(self) -> int:
        """Samples not yet replayed."""
        return len(self._pending)

    def __call__(self) -> float:
        """Seconds: a start, or a start plus the next sample."""
        if not self._pending:
            return time.perf_counter()
        self._is_running = not self._is_running
        return 0.0 if self._is_running else self._pending.popleft()


def hand_over(benchmark: Any, clock: ReplayClock, samples_s: Sequence[float]) -> None:
    """Make the samples the result of a ``benchmark`` fixture, one round each.

    Under ``--benchmark-disable`` (and xdist) the fixture takes nothing, and neither this nor it complains.

    Args:
        benchmark: the fixture of an item marked ``benchmark(timer=clock)``, not used before.
        clock: that clock.
        samples_s: seconds per call.

    Raises:
        OnnxPrepError: there are no samples, or the fixture has another timer.
    """
    if not samples_s:
        raise OnnxPrepError("there are no samples to hand to pytest-benchmark")
    clock.load(samples_s)
    try:
        benchmark.pedantic(_nothing, rounds=len(samples_s), iterations=1)
        if getattr(benchmark, "enabled", False) and clock.left:
            raise OnnxPrepError(
                f"pytest-benchmark did not use the clock that replays the samples ({clock.left} of {len(samples_s)} "
                "are left): the item needs pytest.mark.benchmark(timer=clock) from collection on"
            )
    finally:
        clock.load(())


def _nothing() -> None:
    """What pytest-benchmark believes it is timing."""
