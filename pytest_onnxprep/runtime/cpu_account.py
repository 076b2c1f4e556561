"""Who used the machine's CPUs since a moment: this process, others, or the host that withheld them."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import NamedTuple

#: Read wrong by so many jiffies at most: the counters of /proc/stat are rounded.
_ROUNDING = 1


class _Jiffies(NamedTuple):
    """All CPUs together, since the machine started."""

    used: int
    stolen: int
    idle: int


class CpuAccount:
    """From its making on. Shares are None where the system does not say (no ``/proc/stat``)."""

    def __init__(self) -> None:
        self._first = read_machine()
        self._own_s = own_s()

    def steal_share(self) -> float | None:
        """Share of the CPU time wanted on this machine that its host withheld, 0..1."""
        since = self._since()
        if since is None:
            return None
        stolen = max(0, since.stolen - _ROUNDING)
        return stolen / (stolen + since.used) if stolen > 0 else 0.0

    def others_share(self) -> float | None:
        """Share of the machine's CPUs that neither this process nor its finished children used, 0..1."""
        since = self._since()
        if since is None or not sum(since) > 0:
            return None
        own = (own_s() - self._own_s) * os.sysconf("SC_CLK_TCK")
        return max(since.used - own - _ROUNDING, 0.0) / sum(since)

    def _since(self) -> _Jiffies | None:
        now = read_machine()
        if now is None or self._first is None:
            return None
        return _Jiffies(*(later - earlier for later, earlier in zip(now, self._first, strict=True)))


def read_machine() -> _Jiffies | None:
    """Jiffies used, stolen and idle (``proc_stat(5)``)."""
    try:
        with Path("/proc/stat").open(encoding="ascii") as stat:
            user, nice, system, idle, iowait, irq, softirq, steal = map(int, stat.readline().split()[1:9])
    except (OSError, ValueError):
        return None
    return _Jiffies(user + nice + system + irq + softirq, steal, idle + iowait)


def own_s() -> float:
    """CPU seconds of this process, all its threads and its finished children."""
    found = os.times()
    return time.process_time() + found.children_user + found.children_system
