"""The timed loop, on a clock that only a call moves."""

from __future__ import annotations

import gc
import sys
import time

import pytest

from pytest_onnxprep.runtime.sampler import Probe, Samples, collector_off, sample, warm_up

MS = 1_000_000


class Machine:
    """A clock and a ``run`` that moves it by the same time at every call."""

    def __init__(self, ms: float):
        self.now, self.step, self.calls = 0, int(ms * MS), []

    def clock(self):
        return self.now

    def run(self, names, feeds):
        self.calls.append((names, feeds))
        self.now += self.step


class ScriptedProbe(Probe):
    """Reports the switches and CPU nanoseconds of a script, two snapshots per call."""

    def __init__(self, *snapshots, threads=1):
        super().__init__(threads)
        self.script = iter(snapshots)
        self._switches = lambda: 0

    def snapshot(self):
        return next(self.script)


@pytest.mark.parametrize(
    ("ms", "calls"),
    [(0.01, 20_000), (1, 200), (10, 32), (90, 32), (150, 7), (400, 3), (900, 3), (5000, 1)],
)
def test_warm_up_length(ms, calls):
    """At least 32 calls and 0.2 s; calls over 100 ms stop after a second, but not before three or the limit."""
    machine = Machine(ms)

    assert warm_up(machine.run, ["y"], {}, limit_s=3.0, clock=machine.clock) == calls == len(machine.calls)


def test_samples_are_the_clock_differences():
    """Every call is made with the same names and feeds, and stored in order as seconds."""
    machine, taken = Machine(2), Samples()
    sample(machine.run, ["y"], {"x": 1}, taken, rounds=5, deadline=10**12, probe=Probe(1), clock=machine.clock)

    assert taken.seconds == [0.002] * 5
    assert machine.calls == [(["y"], {"x": 1})] * 5
    assert len(taken.disturbed) == len(taken.floors) == 5


@pytest.mark.parametrize(("deadline_ms", "made"), [(7, 4), (8, 4), (0, 1)])
def test_sampling_stops_at_the_deadline(deadline_ms, made):
    """No call starts once the deadline has passed, but one is always made."""
    machine, taken = Machine(2), Samples()
    sample(machine.run, [], {}, taken, rounds=100, deadline=deadline_ms * MS, probe=Probe(1), clock=machine.clock)

    assert len(taken.seconds) == made


def test_nothing_but_the_call_lies_between_the_clock_readings():
    """Clock, call and clock follow each other; the system's account is read outside."""
    seen = []

    class LoggingProbe(Probe):
        def snapshot(self):
            seen.append("probe")
            return 0, 0

    def clock():
        seen.append("clock")
        return 0

    sample(
        lambda names, feeds: seen.append("run"),
        [],
        {},
        Samples(),
        rounds=2,
        deadline=1,
        probe=LoggingProbe(1),
        clock=clock,
    )

    assert seen == ["probe", "clock", "run", "clock", "probe"] * 2


def test_disturbed_calls_lost_time_to_a_switch():
    """A call is disturbed when it was preempted and that cost more than 2 % of it."""
    machine, taken = Machine(10), Samples()
    probe = ScriptedProbe((0, 0), (0, 1 * MS), (0, 0), (1, 9 * MS), (1, 0), (2, int(9.9 * MS)))
    sample(machine.run, [], {}, taken, rounds=3, deadline=10**12, probe=probe, clock=machine.clock)

    assert taken.disturbed == [False, True, False]
    assert taken.floors == [0.001, 0.009, 0.0099]


def test_with_threads_any_switch_disturbs_and_cpu_time_is_shared():
    """Process time says nothing about who waited, but bounds the call from below."""
    machine, taken = Machine(10), Samples()
    probe = ScriptedProbe((0, 0), (1, 18 * MS), (1, 0), (1, 30 * MS), threads=2)
    sample(machine.run, [], {}, taken, rounds=2, deadline=10**12, probe=probe, clock=machine.clock)

    assert taken.disturbed == [True, False]
    assert taken.floors == [0.009, 0.010]


def test_without_counted_switches_time_off_the_cpu_decides(monkeypatch):
    """Where the system counts no switches one thread is judged by wall minus CPU time, several not at all."""
    monkeypatch.setitem(sys.modules, "resource", None)
    single, several = Probe(1), Probe(4)

    assert single.snapshot()[0] == several.snapshot()[0] == -1
    assert single.was_disturbed(10 * MS, (-1, 0), (-1, 9 * MS))
    assert not single.was_disturbed(10 * MS, (-1, 0), (-1, 10 * MS))
    assert not single.was_disturbed(15_000, (-1, 0), (-1, 0))
    assert not several.was_disturbed(10 * MS, (-1, 0), (-1, 0))


def test_probe_reads_this_system():
    """On a real system the counters never run backwards."""
    for threads in (1, 2, None):
        probe = Probe(threads)
        first = probe.snapshot()
        sum(range(10_000))
        second = probe.snapshot()

        assert second[0] >= first[0]
        assert second[1] >= first[1]
        assert probe.threads >= 1


def test_collector_is_off_only_inside():
    """Garbage collection is off inside and back on afterwards, even after an error."""
    inside = []

    def fail_inside():
        with collector_off():
            inside.append(gc.isenabled())
            raise KeyError

    assert gc.isenabled()
    with pytest.raises(KeyError):
        fail_inside()

    assert inside == [False]
    assert gc.isenabled()


def test_a_disabled_collector_stays_disabled():
    """Whoever switched garbage collection off finds it off."""
    was = gc.isenabled()
    gc.disable()
    try:
        with collector_off():
            pass
        assert not gc.isenabled()
    finally:
        if was:
            gc.enable()


def test_default_clock_counts_nanoseconds():
    """The loop works on the real clock too."""
    taken = Samples()
    sample(
        lambda names, feeds: None, [], {}, taken, rounds=3, deadline=10**20, probe=Probe(1), clock=time.perf_counter_ns
    )

    assert len(taken.seconds) == 3
    assert all(seconds >= 0 for seconds in taken.seconds)
