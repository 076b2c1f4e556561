"""What a child process found out, as data."""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from pytest_onnxprep.runtime.child_limits import Limits


class Outcome(enum.Enum):
    """How a child ended."""

    #: Everything asked for was done.
    OK = "ok"
    #: Its memory, or what the cap left of it, did not suffice.
    OUT_OF_MEMORY = "out of memory"
    #: Something outside sent SIGKILL, such as the kernel when the whole machine is out of memory.
    KILLED = "killed"
    #: Native code crashed: SIGSEGV, SIGABRT, SIGILL, ...
    ABORTED = "aborted"
    #: It was still at work when its time was over.
    TIMED_OUT = "timed out"
    #: ONNX Runtime raised: it does not take the model, the provider or the inputs.
    REFUSED = "refused"
    #: The child itself could not do its work: no ONNX Runtime, no permission.
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Span:
    """One stretch of work.

    Args:
        wall_s: seconds by the clock.
        cpu_s: seconds of all threads on the CPUs.
        waited_s: seconds the main thread could have run and was not let: what other processes took from it.
    """

    wall_s: float
    cpu_s: float
    waited_s: float

    @property
    def undisturbed_s(self) -> float:
        """What it would have taken on a machine of its own, by its CPU time; waiting for a disk is not in it.

        Not the wall time less the waiting for a CPU: the kernel books that late and not whole.
        """
        return min(self.cpu_s, self.wall_s)

    @property
    def cores_used(self) -> float:
        """CPU seconds per second: 1.0 is one core busy all the time."""
        return self.cpu_s / self.wall_s if self.wall_s > 0 else 0.0

    @property
    def waited_share(self) -> float:
        """Share of the time the main thread was kept waiting for a CPU, 0..1; waiting is booked late, by the tick."""
        return min(self.waited_s / self.wall_s, 1.0) if self.wall_s > 0 else 0.0


@dataclass(frozen=True, slots=True)
class Timing:
    """Timed runs on the same inputs.

    Args:
        samples_s: seconds of each run, in order.
        span: all of them together.
        energy_j: joules the CPU packages used meanwhile, of this and every other process; None where no counter can
            be read.
    """

    samples_s: tuple[float, ...]
    span: Span
    energy_j: float | None

    @property
    def median_s(self) -> float:
        """The median run."""
        return sorted(self.samples_s)[len(self.samples_s) // 2]

    @property
    def runs_per_s(self) -> float:
        """Runs per second, one after the other."""
        return len(self.samples_s) / self.span.wall_s


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes of a process at one moment.

    Args:
        resident: in memory now (VmRSS), libraries and other mapped files included.
        peak: the most that ever was (VmHWM), what ``/usr/bin/time -v`` calls the maximum resident set size.
        anonymous: the part of ``resident`` that belongs to no file.
    """

    resident: int
    peak: int
    anonymous: int


@dataclass(frozen=True, slots=True)
class ChildMeasure:
    """What one child cost. A figure it did not live to tell is None.

    Args:
        outcome: how it ended.
        message: a sentence about anything but `Outcome.OK`.
        stage: the last thing it began: ``import``, ``load``, ``first run``, ``steady runs``, ``done``.
        limits: what it was held to.
        import_s: seconds to import ONNX Runtime and NumPy.
        baseline: memory with ONNX Runtime, NumPy and the inputs, before the model is loaded.
        load: making the session.
        loaded: memory when the session was made.
        first_run: the first run.
        timings: the timed runs, of ``feeds`` and then of each of ``more_feeds``.
        steady: memory at the end; ``steady.peak`` is the peak of the process.
        arena_bytes: what ONNX Runtime's arena held at most, where it was asked for and is told.
        threads_asked: intra-op threads; None for ONNX Runtime's default.
        threads: threads of the process at the end, the main one included.
        threads_before: the same before the model was loaded.
        modules: top-level modules it had imported, the standard library's left out.
        onnxruntime: version.
        provider: the execution provider that ran it.
    """

    outcome: Outcome
    message: str
    stage: str
    limits: Limits
    import_s: float | None
    baseline: Memory | None
    load: Span | None
    loaded: Memory | None
    first_run: Span | None
    timings: tuple[Timing, ...]
    steady: Memory | None
    arena_bytes: int | None
    threads_asked: int | None
    threads: int | None
    threads_before: int | None
    modules: tuple[str, ...]
    onnxruntime: str | None
    provider: str | None

    @property
    def ok(self) -> bool:
        """Whether it did everything asked for."""
        return self.outcome is Outcome.OK

    @property
    def peak_bytes(self) -> int | None:
        """Peak of the process; of one that died, the last that is known."""
        known = self.steady or self.loaded or self.baseline
        return known.peak if known else None

    @property
    def own_bytes(self) -> int | None:
        """The model's own share of the peak: what was not there before it was loaded."""
        if self.peak_bytes is None or self.baseline is None:
            return None
        return max(self.peak_bytes - self.baseline.resident, 0)

    @classmethod
    def of(
        cls,
        known: Mapping[str, Any],
        timings: Sequence[Mapping[str, Any]],
        *,
        outcome: Outcome,
        message: str,
        threads_asked: int | None,
        limits: Limits,
    ) -> Self:
        """From what the child told."""
        providers = known.get("providers") or [None]
        return cls(
            outcome=outcome,
            message=message,
            stage=known.get("stage", "start"),
            limits=limits,
            import_s=known.get("import_s"),
            baseline=_memory(known.get("baseline")),
            load=_span(known.get("load")),
            loaded=_memory(known.get("loaded")),
            first_run=_span(known.get("first_run")),
            timings=tuple(_timing(told) for told in timings),
            steady=_memory(known.get("steady")),
            arena_bytes=known.get("arena"),
            threads_asked=threads_asked,
            threads=known.get("threads"),
            threads_before=known.get("threads_before"),
            modules=tuple(known.get("modules", ())),
            onnxruntime=known.get("onnxruntime"),
            provider=providers[0],
        )


def _memory(told: Mapping[str, int] | None) -> Memory | None:
    return None if told is None else Memory(told["rss"], told["peak"], told["anonymous"])


def _span(told: Mapping[str, float] | None) -> Span | None:
    return None if told is None else Span(told["wall_s"], told["cpu_s"], told["waited_s"])


def _timing(told: Mapping[str, Any]) -> Timing:
    span = Span(told["wall_s"], told["cpu_s"], told["waited_s"])
    return Timing(tuple(told["samples_s"]), span, told["energy_j"])
