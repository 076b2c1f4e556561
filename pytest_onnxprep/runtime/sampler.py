"""The timed loop: what each call took, and whether the machine interfered.

The timed region holds the call and nothing else; everything the sampler wants to know besides is read before and
after it.
"""

from __future__ import annotations

import gc
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from pytest_onnxprep.runtime.cpu_account import CpuAccount

#: Returns nanoseconds.
Clock = Callable[[], int]
#: ``session.run``: takes output names and feeds.
Run = Callable[[Sequence[str], Mapping[str, Any]], Any]

WARM_UP_CALLS = 32
WARM_UP_S = 0.2
SLOW_CALL_S = 0.1
SLOW_WARM_UP_CALLS = 3
SLOW_WARM_UP_S = 1.0

# Every call of 20 ms and more meets some kernel thread on the way (49 involuntary switches in an idle second,
# measured); a preemption that cost less than this share of the call did not decide its latency.
_LOST_SHARE = 0.02
_LOST_NS = 20_000  # where switches cannot be counted: below this, clock granularity looks like lost time


@dataclass
class Samples:
    """What was measured, one entry per call and in order.

    Args:
        seconds: wall time.
        disturbed: whether the CPU was taken away during the call.
        floors: the CPU seconds of the call divided by the threads that may have shared it: what it would have taken
            at the very least on a machine of its own.
    """

    seconds: list[float] = field(default_factory=list)
    disturbed: list[bool] = field(default_factory=list)
    floors: list[float] = field(default_factory=list)


class Probe:
    """Reads the operating system's account of this thread (``threads=1``) or process (more).

    Args:
        threads: threads of the model's pool, the calling one included; None for ONNX Runtime's default, of which only
            the upper end is known: one per CPU.
    """

    def __init__(self, threads: int | None) -> None:
        self.single = threads == 1
        self.threads = threads or _cpus()
        self._cpu_ns = time.thread_time_ns if self.single else time.process_time_ns
        self._switches = _switch_counter(self.single)
        self._account = CpuAccount()

    def snapshot(self) -> tuple[int, int]:
        """Involuntary context switches and CPU nanoseconds so far; -1 switches where nobody counts them."""
        return (self._switches() if self._switches else -1), self._cpu_ns()

    def was_disturbed(self, wall_ns: int, before: tuple[int, int], after: tuple[int, int]) -> bool:
        """Whether the CPU was taken away between two snapshots around a call of this length.

        With one thread the time lost must be more than 2 % of the call. Where switches are not counted, time off the
        CPU alone decides; with several threads it says nothing, for they wait for each other.
        """
        lost = wall_ns - (after[1] - before[1])
        if self._switches is None:
            return self.single and lost > max(_LOST_NS, _LOST_SHARE * wall_ns)
        return after[0] > before[0] and (not self.single or lost > _LOST_SHARE * wall_ns)

    def steal_share(self) -> float | None:
        """See `CpuAccount.steal_share`, since the probe was made."""
        return self._account.steal_share()

    def others_share(self) -> float | None:
        """See `CpuAccount.others_share`, since the probe was made."""
        return self._account.others_share()


def warm_up(run: Run, names: Sequence[str], feeds: Mapping[str, Any], *, limit_s: float, clock: Clock) -> int:
    """Call until caches, memory arenas and the CPU's clock have settled.

    At least 32 calls and 0.2 s. Calls of more than 100 ms need less: three, and no more once a second has passed, or
    a single one that alone takes ``limit_s``.

    Args:
        run: ``session.run``.
        names: output names.
        feeds: inputs.
        limit_s: seconds after which even the first slow call is enough.
        clock: nanoseconds.

    Returns:
        The number of calls made.
    """
    start = clock()
    calls = 0
    while True:
        before = clock()
        run(names, feeds)
        now = clock()
        calls += 1
        elapsed = (now - start) / 1e9
        if calls >= WARM_UP_CALLS and elapsed >= WARM_UP_S:
            return calls
        is_slow = now - before > SLOW_CALL_S * 1e9
        if is_slow and elapsed >= SLOW_WARM_UP_S and (calls >= SLOW_WARM_UP_CALLS or elapsed >= limit_s):
            return calls


def sample(
    run: Run,
    names: Sequence[str],
    feeds: Mapping[str, Any],
    into: Samples,
    *,
    rounds: int,
    deadline: int,
    probe: Probe,
    clock: Clock,
) -> None:
    """Time up to ``rounds`` calls and append them to ``into``.

    Args:
        run: ``session.run``.
        names: output names.
        feeds: inputs.
        into: where the calls go.
        rounds: how many; at least one is made.
        deadline: no call starts after this reading of ``clock``, except the first.
        probe: tells whether a call was disturbed.
        clock: nanoseconds.
    """
    snapshot = probe.snapshot
    for _ in range(max(rounds, 1)):
        before = snapshot()
        t0 = clock()
        outputs = run(names, feeds)
        t1 = clock()
        del outputs  # freed here, or unmapping a large output would count as the model's time
        after = snapshot()
        wall = t1 - t0
        into.seconds.append(wall / 1e9)
        into.disturbed.append(probe.was_disturbed(wall, before, after))
        into.floors.append(min(wall, (after[1] - before[1]) / probe.threads) / 1e9)
        if t1 >= deadline:
            return


@contextmanager
def collector_off() -> Iterator[None]:
    """No garbage collection while it lasts; as before afterwards.

    Tracers stay: coverage's costs less than a microsecond a call, and it loses its place when switched off and on.
    """
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            gc.enable()


def _switch_counter(single: bool) -> Callable[[], int] | None:
    """Reads the number of involuntary context switches of this thread or process; None where nobody counts them."""
    try:
        import resource
    except ImportError:  # Windows
        return None
    who = getattr(resource, "RUSAGE_THREAD", resource.RUSAGE_SELF) if single else resource.RUSAGE_SELF
    return lambda: resource.getrusage(who).ru_nivcsw


def _cpus() -> int:
    """CPUs this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
