"""What the rest of the machine does while fresh processes are measured."""

from __future__ import annotations

import os
import resource
from pathlib import Path

from pytest_onnxprep.machine import conditions, quota
from pytest_onnxprep.runtime.sampler import Probe
from pytest_onnxprep.stats.fresh import Surroundings


class Neighbours:
    """From its making on: the CPU time that neither this process nor its children used."""

    def __init__(self) -> None:
        self._steal = Probe(None)
        self._first = _machine_s()
        self._own = _own_s()
        #: Clock, quota, throttling, load and thread settings meanwhile; to be called at the end.
        self.conditions = conditions()

    def surroundings(self) -> Surroundings:
        """Shares so far; None where the system does not say."""
        now = _machine_s()
        if now is None or self._first is None or now[1] <= self._first[1]:
            return Surroundings(None, self._steal.steal_share())
        others = (now[0] - self._first[0]) - (_own_s() - self._own)
        return Surroundings(max(others, 0.0) / (now[1] - self._first[1]), self._steal.steal_share())


def usable_cores() -> int:
    """CPUs this process may use, by its affinity and its cgroup's quota."""
    cores = len(os.sched_getaffinity(0))
    granted = quota()
    return cores if granted is None else max(1, min(cores, int(granted)))


def _machine_s() -> tuple[float, float] | None:
    """CPU seconds used, and CPU seconds there were, all CPUs together (``proc_stat(5)``)."""
    try:
        with Path("/proc/stat").open(encoding="ascii") as stat:
            user, nice, system, idle, iowait, irq, softirq, steal = map(int, stat.readline().split()[1:9])
    except (OSError, ValueError):
        return None
    busy = user + nice + system + irq + softirq
    tick = os.sysconf("SC_CLK_TCK")
    return busy / tick, (busy + idle + iowait + steal) / tick


def _own_s() -> float:
    found = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in found)
