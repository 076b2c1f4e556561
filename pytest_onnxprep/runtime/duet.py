"""Two models timed side by side in one process, in short alternating bursts.

What the machine does from one second to the next (clock speed, neighbours, caches) hits both sides alike, so their
ratio is known to half a per cent where either time alone is not known to twenty. The fastest call of a burst stands for
the burst: interference only ever adds time. Sessions are made anew several times, in alternating order, because where
memory happens to lie favours one session for its whole life.
"""

from __future__ import annotations

import functools
import math
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from pytest_onnxprep.errors import OnnxPrepError
from pytest_onnxprep.runtime.sampler import Clock, Probe, Run, Samples, collector_off, sample
from pytest_onnxprep.runtime.session import make_session
from pytest_onnxprep.stats.paired import FLOOR, PAIR_LOOKS, PairedDecision, judge_pairs, sign_interval
from pytest_onnxprep.stats.sequential import QUIET_SHARE, Ruling

#: How a side is called: ``run(names, feeds)``.
Call = tuple[Run, Sequence[str], Mapping[str, Any]]

BURST_S = 0.005
LONGEST_BURST = 32
#: Calls one side makes before it is the other's turn. What neighbours do changes within a hundredth of a second, so
#: both sides have to sample it: with turns of 16 calls equal models' ratios spread half as far again. Calls so long
#: that four take more than this many seconds take turns one by one: refilling caches is a small part of them.
TURN_CALLS = 4
LONGEST_TURN_S = 0.0025
#: Left out of every burst: what refills the caches that the other side emptied.
DROPPED = 2
#: Session pairs per look, at the least.
ROUNDS = 3
#: Pairs of bursts to a pair of sessions, where making them anew takes no longer than that: where its memory lies makes
#: a session up to two per cent faster or slower, and only more sessions average that out.
ROUND_PAIRS = 6
#: Seconds of warming up, in all and for each new session.
SETTLE_S = 0.1
WARM_UP_S = 0.01
#: Seconds of sampling where the mark gives none. Equal models, and those that differ by a tenth, need one; what is a
#: few per cent off its limit needs more pairs, and a busy machine more seconds for as many: with seven processes on
#: each core equal models passed within 48 pairs in 12 of 14 processes, within 24 in 7.
LONGEST_S = 8.0
#: A machine on which bursts take this many times the time of their calls is busy.
STRETCHED = 1.5
#: Seconds of the self-check that a fail has to survive, on a quiet machine and on a busy one.
SELF_CHECK_S = (0.4, 1.5)
SELF_CHECK_PAIRS = (6, 24)
#: Sessions that take longer to make than this are made anew once a look after the first, not three times.
SLOW_OPEN_S = 0.1
#: However slow the models, the first look is not waited for longer than this many times the time allowed.
_PATIENCE = 10
#: Two sessions of one model that differ by no more than chance does, one time in five, prove nothing about the machine.
_SELF_CHECK_ALPHA = 0.1
_FOREVER = 1 << 62


@dataclass(frozen=True)
class Side:
    """One of the two models.

    Args:
        name: as messages show it: ``the baseline``, ``the framework's eager model``.
        open: makes what is called. Made anew before every round.
        is_fresh: whether ``open`` really makes a new one; a framework's model is what it is.
    """

    name: str
    open: Callable[[], Call]
    is_fresh: bool = True


@dataclass(frozen=True)
class Duet:
    """What came of it.

    Args:
        decision: the verdict with the ratio of the model's time to the rival's.
        model: the model's timed calls, those that refill caches left out.
        rival: the rival's.
        bursts: calls in a burst of the model's, and of the rival's.
        sessions: how many pairs of sessions were made.
        steal_share: share of the CPU time wanted that the host withheld; None where unknown.
        others_share: share of the machine's CPUs that other processes used; None where unknown.
        elapsed_s: seconds, everything included.
        is_single: whether one thread computes; with more, hand-overs within the pool count as preemption.
        stretch: how many times as long as their own work the bursts took: what neighbours took away.
        self_check: how far two sessions of one model are usually apart (log ratio), where that was tried.
    """

    decision: PairedDecision
    model: Samples
    rival: Samples
    bursts: tuple[int, int]
    sessions: int
    steal_share: float | None
    others_share: float | None
    elapsed_s: float
    is_single: bool
    stretch: float
    self_check: float | None = None

    @property
    def preempted_share(self) -> float:
        """Share of all timed calls during which the CPU was taken away."""
        flags = [*self.model.disturbed, *self.rival.disturbed]
        return sum(flags) / len(flags) if flags else 0.0


def onnx_side(
    name: str,
    path: Path,
    feeds: Mapping[str, Any],
    *,
    provider: str | None,
    threads: int,
    custom_ops: Sequence[str] = (),
) -> Side:
    """An ONNX file on ONNX Runtime, with the options every latency is measured with."""
    make = functools.partial(make_session, path, provider=provider, threads=threads, custom_ops=custom_ops)
    return session_side(name, make, feeds)


def session_side(name: str, make: Callable[[], Any], feeds: Mapping[str, Any]) -> Side:
    """Whatever makes something with the ``run`` and ``get_outputs`` of an ``InferenceSession``."""

    def opened() -> Call:
        session = make()
        return session.run, [output.name for output in session.get_outputs()], feeds

    return Side(name, opened)


def function_side(name: str, function: Callable[[], Any]) -> Side:
    """Anything that can be called without arguments."""
    return Side(name, lambda: ((lambda _names, _feeds: function()), (), {}), is_fresh=False)


def duet(
    model: Side,
    rival: Side,
    *,
    limit: float,
    threads: int | None = 1,
    max_time_s: float | None = None,
    clock: Clock = time.perf_counter_ns,
    probe: Probe | None = None,
) -> Duet:
    """Time both until their ratio is decided or the time is over.

    Args:
        model: the model under test.
        rival: what it is compared with.
        limit: largest ratio of the model's time to the rival's that is acceptable.
        threads: threads of either side, for the account of disturbances.
        max_time_s: seconds of sampling; 12 pairs of bursts are made however long they take, up to ten times of it.
            None: eight seconds; one is enough for all but what is close to its limit.
        clock: monotonic nanoseconds.
        probe: the operating system's account; made here if None.

    Raises:
        OnnxPrepError: one of the two cannot be run.
    """
    start = clock()
    playing = _Playing(model, rival, clock, probe or Probe(threads))
    with collector_off():
        playing.settle()
        decision = playing.until_decided(limit, max_time_s)
    return Duet(
        decision,
        playing.taken[0],
        playing.taken[1],
        playing.bursts,
        playing.sessions,
        playing.probe.steal_share(),
        playing.probe.others_share(),
        (clock() - start) / 1e9,
        playing.probe.single,
        playing.stretch,
        playing.check,
    )


@dataclass
class _Playing:
    """The two sides at work; index 0 is the model, 1 the rival."""

    model: Side
    rival: Side
    clock: Clock
    probe: Probe
    logs: list[float] = field(default_factory=list)
    taken: tuple[Samples, Samples] = field(default_factory=lambda: (Samples(), Samples()))
    calls: list[Call] = field(default_factory=list)
    call_s: tuple[float, float] = (0.0, 0.0)
    bursts: tuple[int, int] = (1, 1)
    turns: int = 1
    sessions: int = 0
    open_s: float = 0.0
    pairs_s: float = 0.0
    cpu_s: float = 0.0
    check: float | None = None

    @property
    def per_pair_s(self) -> float:
        """Seconds of a pair of bursts on a machine of its own."""
        return sum(calls * seconds for calls, seconds in zip(self.bursts, self.call_s, strict=True))

    @property
    def stretch(self) -> float:
        """See `Duet.stretch`."""
        # Around a call of microseconds the sampler takes longer than the call, which its CPU time shows; CPU time does
        # not show the threads of a framework, whose calls take what they took when they were warmed up.
        explained = max(len(self.logs) * self.per_pair_s, self.cpu_s)
        return self.pairs_s / explained if self.logs else 1.0

    def settle(self) -> None:
        """Open both for the first time, warm the machine up, and choose the length of a burst."""
        self._open(self.model, self.rival)
        mine, other = (max(min(self._warm_up(call, SETTLE_S / 2)), 1e-9) for call in self.calls)
        self.call_s = mine, other
        # The fastest of more calls is faster: as many of each, unless one side would wait for the other for long.
        alike = max(mine, other) < 2 * min(mine, other)
        self.bursts = (_burst((mine + other) / 2),) * 2 if alike else (_burst(mine), _burst(other))
        if alike:
            calls = TURN_CALLS if TURN_CALLS * max(mine, other) <= LONGEST_TURN_S else 1
            self.turns = math.ceil(self.bursts[0] / calls)
            self.bursts = (self.turns * calls,) * 2

    def until_decided(self, limit: float, max_time_s: float | None) -> PairedDecision:
        """One look after the other until a verdict; the first fail is followed by the self-check."""
        allowed = max_time_s or LONGEST_S
        start = self.clock()

        def is_over() -> bool:
            return self.clock() - start >= allowed * 1e9

        def is_late() -> bool:
            return self.clock() - start >= _PATIENCE * allowed * 1e9

        for look, pairs in enumerate(PAIR_LOOKS, start=1):
            self._play(pairs, is_late if look == 1 else is_over, is_first=look == 1)
            final = look == len(PAIR_LOOKS) or is_over()
            decision = self._judged(limit, look, final=final)
            if decision.ruling is Ruling.FAIL and self.check is None:
                self.check = self.self_check()
                decision = self._judged(limit, look, final=final or is_over())
            if decision.ruling is not Ruling.CONTINUE:
                break
        return decision

    def _judged(self, limit: float, look: int, *, final: bool) -> PairedDecision:
        """The verdict; what two sessions of one model differ by here and now is not the model's doing."""
        floor = max(FLOOR, self.check or 0.0)
        decision = judge_pairs(self.logs, limit, look=look, final=final, floor=floor)
        if decision.ruling is not Ruling.INCONCLUSIVE or floor == FLOOR:
            return decision
        unfair = f"machine unfair: two sessions of one model differed by {100 * (self.check or 0.0):.1f} %"
        return replace(decision, reason=unfair)

    def is_calm(self) -> bool:
        """Whether hardly any call was disturbed, and hardly any time was lost."""
        flags = [*self.taken[0].disturbed, *self.taken[1].disturbed] if self.probe.single else []
        preempted = sum(flags) / len(flags) if flags else 0.0  # a thread pool's hand-overs count as preemption
        stolen = self.probe.steal_share() or 0.0
        return preempted <= QUIET_SHARE and stolen <= QUIET_SHARE and self.stretch <= STRETCHED

    def self_check(self) -> float:
        """How far two sessions of the same model are usually apart, as a log ratio >= 0.

        Of each pair of sessions what its few ratios prove (their median would be apart by noise alone), and of these
        the median: one unlucky pair is outvoted in the comparison, too.
        """
        side = self.rival if self.rival.is_fresh else self.model
        least, most = SELF_CHECK_PAIRS
        logs: list[float] = []
        end = self.clock() + round(SELF_CHECK_S[not self.is_calm()] * 1e9)
        aside: tuple[Samples, Samples] = (Samples(), Samples())
        while len(logs) < least or (len(logs) < most and self.clock() < end):
            if len(logs) % least == 0:
                self._open(side, side)
                for call in self.calls:
                    self._warm_up(call, WARM_UP_S)
            logs.append(self._pair(len(logs), aside))
        rounds = [sign_interval(logs[i : i + least], _SELF_CHECK_ALPHA) for i in range(0, len(logs), least)]
        return statistics.median(max(low, -high, 0.0) for low, high in rounds)

    def _play(self, pairs: int, is_over: Callable[[], bool], *, is_first: bool) -> None:
        """Add pairs up to a total, in rounds with sessions of their own, until the time is over."""
        made, missing = len(self.logs), pairs - len(self.logs)
        rounds = self._rounds(missing) if is_first or self.open_s <= SLOW_OPEN_S else 1
        for turn in range(rounds):
            if not (is_first and turn == 0):  # the sessions of settle() are as good as new
                self._open(self.model, self.rival)
                for call in self.calls:
                    self._warm_up(call, WARM_UP_S)
            while len(self.logs) < made + missing * (turn + 1) // rounds:
                if self.logs and is_over():
                    return
                start, (_, cpu) = self.clock(), self.probe.snapshot()
                self.logs.append(self._pair(len(self.logs), self.taken))
                self.pairs_s += (self.clock() - start) / 1e9
                self.cpu_s += (self.probe.snapshot()[1] - cpu) / 1e9

    def _rounds(self, pairs: int) -> int:
        """How many pairs of sessions so many pairs of bursts are shared among."""
        anew = 2 * (self.open_s + WARM_UP_S)
        return max(ROUNDS, pairs // ROUND_PAIRS) if anew <= 2 * ROUND_PAIRS * self.per_pair_s else ROUNDS

    def _pair(self, number: int, taken: tuple[Samples, Samples]) -> float:
        """A burst of each, in turns, A B B A: neither always comes first."""
        best = [math.inf, math.inf]
        for turn in range(self.turns):
            for side in (0, 1) if (number + turn) % 2 else (1, 0):
                found = self._burst(self.calls[side], self.bursts[side] // self.turns, taken[side])
                best[side] = min(best[side], found)
        return math.log(best[0] / best[1])

    def _burst(self, call: Call, calls: int, taken: Samples) -> float:
        """The fastest call of a burst, seconds; all but the first few are kept."""
        found = Samples()
        sample(*call, found, rounds=calls, deadline=_FOREVER, probe=self.probe, clock=self.clock)
        skip = dropped(calls)
        taken.seconds += found.seconds[skip:]
        taken.disturbed += found.disturbed[skip:]
        taken.floors += found.floors[skip:]
        return max(min(found.seconds[skip:]), 1e-9)

    def _open(self, model: Side, rival: Side) -> None:
        """Make both anew; who comes first alternates, because who comes first gets the better memory."""
        self.calls.clear()  # the old sessions go before the new ones come
        start = self.clock()
        opened: dict[int, Call] = {}
        for side in (0, 1) if self.sessions % 2 else (1, 0):
            one = (model, rival)[side]
            try:
                opened[side] = one.open()
            except OnnxPrepError:
                raise
            except Exception as error:
                raise OnnxPrepError(f"{one.name} cannot be loaded: {error}") from error
        self.calls += [opened[0], opened[1]]
        self.open_s = (self.clock() - start) / 1e9 / 2
        self.sessions += 1

    def _warm_up(self, call: Call, seconds: float) -> list[float]:
        """Call until the time is over, at least twice and at most 32 times a hundredth of a second."""
        run, names, feeds = call
        taken: list[float] = []
        start = self.clock()
        most = LONGEST_BURST * max(1, round(seconds / WARM_UP_S))
        while len(taken) < most:
            before = self.clock()
            try:
                run(names, feeds)
            except Exception as error:
                which = self.rival if self.calls[1] is call else self.model
                raise OnnxPrepError(f"{which.name} cannot be timed, it refuses to run: {error}") from error
            now = self.clock()
            taken.append((now - before) / 1e9)
            if len(taken) >= 2 and now - start >= seconds * 1e9:
                break
        return taken


def dropped(calls: int) -> int:
    """How many calls of a burst are left out: two, fewer of a short one."""
    return min(DROPPED, calls // 3)


def _burst(call_s: float) -> int:
    """Calls in a burst."""
    return min(max(math.ceil(BURST_S / call_s), 1), LONGEST_BURST)
