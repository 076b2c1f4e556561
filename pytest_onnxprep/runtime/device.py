"""A device, as far as this machine can stand in for it: its memory as a limit, its cores by pinning, its threads."""

from __future__ import annotations

import functools
import os
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from pytest_onnxprep.errors import OnnxPrepError
from pytest_onnxprep.runtime.child_limits import Limits
from pytest_onnxprep.runtime.child_measure import ChildMeasure, Outcome
from pytest_onnxprep.runtime.child_process import Files, Inputs, run_child
from pytest_onnxprep.runtime.session import CPU, provider_name
from pytest_onnxprep.spec.target import Target

#: Children of each thread count, in alternating order: a neighbour's burst should not decide which count is best.
SWEEP_ROUNDS = 2
SWEEP_S = 0.25
SWEEP_RUNS = 5
#: A run that takes longer is timed less often.
SLOW_S = 0.5
SLOW_RUNS = 2
#: More threads than needed take cores from others: the fewest within this share of the best are recommended.
NEAR_BEST = 0.05
TIMEOUT_S = 120.0


@dataclass(frozen=True)
class Sweep:
    """One thread count.

    Args:
        threads: intra-op threads.
        seconds: of a run: the median of the child that did best.
        startup_s: loading and the first run, the median of the children, waiting for a CPU not counted.
    """

    threads: int
    seconds: float
    startup_s: float


@dataclass(frozen=True)
class Stay:
    """What became of a model that was held to a device's limits here.

    Args:
        capped: the child under the memory limit.
        hard: whether the kernel held it to that limit (memory it may reserve), or its peak was watched.
        hard_message: how it died under the kernel's limit, where it did and then ran under a watched one.
        cores: CPUs of this machine it ran on; the device may have more.
        sweep: times by thread count; empty where nothing was timed.
        stand_in: why another execution provider was used than the device's; empty where it was the same.
    """

    capped: ChildMeasure
    hard: bool
    hard_message: str
    cores: int
    sweep: tuple[Sweep, ...] = ()
    stand_in: str = ""

    @property
    def recommended(self) -> Sweep | None:
        """The fewest threads that are nearly as fast as the best."""
        if not self.sweep:
            return None
        best = min(one.seconds for one in self.sweep)
        return min((one for one in self.sweep if one.seconds <= best * (1 + NEAR_BEST)), key=lambda one: one.threads)


def stay(
    path: Files,
    feeds: Inputs,
    target: Target,
    *,
    timed: bool,
    custom_ops: Sequence[str] = (),
    largest: Inputs | None = None,
) -> Stay:
    """Run a model within a device's limits.

    Args:
        path: the file, or several.
        feeds: input name -> array; of several files, see `run_child`.
        target: the device.
        timed: whether this machine is quiet enough to time thread counts.
        custom_ops: libraries of custom operators.
        largest: what is run under the memory limit, where that is not the same.

    Raises:
        OnnxPrepError: ONNX Runtime does not run the model here at all.
    """
    usable = sorted(os.sched_getaffinity(0))
    pinned = usable[: target.cores or len(usable)]
    provider, stand_in = _provider(target)
    child = functools.partial(
        run_child, path, provider=provider, pinned_cores=pinned, custom_ops=custom_ops, timeout_s=TIMEOUT_S
    )
    start = functools.partial(child, feeds)
    under_limit = functools.partial(child, feeds if largest is None else largest)
    capped, hard, message = _within(under_limit, target, len(pinned))
    if capped.outcome in (Outcome.REFUSED, Outcome.FAILED):
        raise OnnxPrepError(f"the model cannot be held to {target.name}: {capped.message}")
    sweep: tuple[Sweep, ...] = ()
    if timed and capped.ok:
        sweep = _sweep(start, len(pinned), is_slow=capped.timings[0].median_s > SLOW_S)
    return Stay(capped, hard, message, len(pinned), sweep, stand_in)


def thread_counts(cores: int) -> list[int]:
    """1, 2, 4, ... and all of the cores."""
    counts = [2**power for power in range(cores.bit_length()) if 2**power < cores]
    return [*counts, cores]


def _provider(target: Target) -> tuple[str, str]:
    try:
        return provider_name(target.provider), ""
    except OnnxPrepError as error:
        return CPU, f"the CPU stands in for the device's {target.provider!r}: {str(error).partition('. ')[0]}"


def _within(start: Callable[..., ChildMeasure], target: Target, threads: int) -> tuple[ChildMeasure, bool, str]:
    """The child under the kernel's limit; where the model only reserves too much, the one whose peak is watched."""

    def child(limits: Limits) -> ChildMeasure:
        return start(threads=threads, runs=3, warmup=2, limits=limits)

    if target.memory_bytes is None:
        return child(Limits()), False, ""
    first = child(Limits(memory_bytes=target.memory_bytes, enforce="data"))
    if first.ok:
        return first, True, ""
    if not target.overcommits:
        if first.outcome is Outcome.REFUSED and child(Limits()).ok:  # it spoke of something else, but meant the limit
            first = replace(first, outcome=Outcome.OUT_OF_MEMORY)
        return first, True, ""
    second = child(Limits(memory_bytes=target.memory_bytes, enforce="resident"))
    return second, False, first.message


def _sweep(start: Callable[..., ChildMeasure], cores: int, *, is_slow: bool) -> tuple[Sweep, ...]:
    counts = thread_counts(cores)
    children: dict[int, list[ChildMeasure]] = {count: [] for count in counts}
    often = {"runs": SLOW_RUNS, "warmup": 1} if is_slow else {"runs": SWEEP_RUNS, "warmup": 3}
    for turn in range(SWEEP_ROUNDS):
        for count in counts if turn % 2 == 0 else reversed(counts):
            children[count].append(start(threads=count, min_time_s=SWEEP_S, **often))
    return tuple(Sweep(count, _fastest(found), _startup(found)) for count, found in children.items() if _done(found))


def _done(found: list[ChildMeasure]) -> bool:
    return any(child.ok for child in found)


def _fastest(found: list[ChildMeasure]) -> float:
    return min(child.timings[0].median_s for child in found if child.ok)


def _startup(found: list[ChildMeasure]) -> float:
    spans = [
        child.load.undisturbed_s + child.first_run.undisturbed_s for child in found if child.load and child.first_run
    ]
    return statistics.median(spans)
