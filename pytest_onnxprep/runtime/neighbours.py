"""What the rest of the machine does while fresh processes are measured."""

from __future__ import annotations

import os

from pytest_onnxprep.machine import conditions, quota
from pytest_onnxprep.runtime.cpu_account import CpuAccount
from pytest_onnxprep.stats.fresh import Surroundings


class Neighbours:
    """From its making on: the CPU time that neither this process nor its children used."""

    def __init__(self) -> None:
        self._account = CpuAccount()
        #: Clock, quota, throttling, load and thread settings meanwhile; to be called at the end.
        self.conditions = conditions()

    def surroundings(self) -> Surroundings:
        """Shares so far; None where the system does not say."""
        return Surroundings(self._account.others_share(), self._account.steal_share())


def usable_cores() -> int:
    """CPUs this process may use, by its affinity and its cgroup's quota."""
    cores = len(os.sched_getaffinity(0))
    granted = quota()
    return cores if granted is None else max(1, min(cores, int(granted)))
