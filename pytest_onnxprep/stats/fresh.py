"""Is a figure of fresh processes within its budget? One number per process, few processes, noise that only adds time.

The median over processes is tested by its sign: of processes exactly at the budget, half are over. Other programs make
a process slower, never faster, so a pass under noise is a pass. A fail needs every process but at most one to be over,
and beside it either a quiet machine or that what the machine took away is not what decided.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pytest_onnxprep.stats.binomial import binomial_cdf, binomial_sf
from pytest_onnxprep.stats.sequential import QUIET_OTHERS, QUIET_SHARE, Ruling

#: Processes at each look. Fewer than five cannot pass, fewer than seven cannot fail.
LOOKS = (5, 8, 11)
#: At one look. Over the three looks together a model exactly at its budget passes in 6.3 %, fails in 0.8 %.
ALPHA_PASS = 0.05
ALPHA_FAIL = 0.01
#: On a machine that is not quiet even the undisturbed time must be so many times the budget: a busy sibling of the core
#: and shared caches make CPU time itself longer, by up to about as much.
GROSS = 2.0


@dataclass(frozen=True, slots=True)
class Process:
    """One figure of one fresh process.

    Args:
        value: what it took.
        floor: what it would have taken at the very least on a machine of its own.
        waited_share: share of the time it was kept waiting for a CPU, 0..1.
    """

    value: float
    floor: float
    waited_share: float


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What the rest of the machine did meanwhile; None where it does not say.

    Args:
        others_share: share of all CPUs that other processes used, 0..1.
        steal_share: share of the CPU time wanted that the host gave to somebody else, 0..1.
    """

    others_share: float | None = None
    steal_share: float | None = None


def is_quiet(processes: Sequence[Process], around: Surroundings) -> bool:
    """Whether the machine left the processes alone."""
    waited = sorted(one.waited_share for one in processes)[len(processes) // 2]
    return (
        waited <= QUIET_SHARE
        and (around.steal_share or 0.0) <= QUIET_SHARE
        and around.others_share is not None
        and around.others_share <= QUIET_OTHERS
    )


def judge_processes(processes: Sequence[Process], limit: float, around: Surroundings, *, final: bool) -> Ruling:
    """Judge the median of ``value`` against a limit.

    Args:
        processes: all so far, not empty.
        limit: at most that much.
        around: what the rest of the machine did.
        final: no further process will be run.
    """
    count = len(processes)
    if binomial_cdf(sum(one.value > limit for one in processes), count, 0.5) <= ALPHA_PASS:
        return Ruling.PASS
    if is_quiet(processes, around):
        over = sum(one.value > limit for one in processes)
    else:
        over = sum(one.floor > GROSS * limit for one in processes)
    if binomial_sf(over, count, 0.5) <= ALPHA_FAIL:
        return Ruling.FAIL
    return Ruling.INCONCLUSIVE if final else Ruling.CONTINUE
