"""Duets of simulated models: every call moves the clock, none takes real time."""

from __future__ import annotations

import itertools
import json
import math
import random

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from pytest_onnxprep.errors import OnnxPrepError
from pytest_onnxprep.runtime.duet import LONGEST_S, ROUND_PAIRS, ROUNDS, Side, duet, function_side, onnx_side
from pytest_onnxprep.runtime.duet_report import DuetReport
from pytest_onnxprep.runtime.sampler import Probe
from pytest_onnxprep.spec.comparison import read_comparisons
from pytest_onnxprep.stats.sequential import Ruling


class Machine(Probe):
    """Clock and probe of simulated models.

    Args:
        drift: factor on every call, as a function of the time so far in seconds.
        preempted: how often the CPU is taken away, 0..1.
    """

    def __init__(self, drift=lambda seconds: 1.0, preempted=0.0, seed=0):
        super().__init__(1)
        self.rng = random.Random(seed)
        self.drift, self.share = drift, preempted
        self.now = self.cpu = self.switches = 0
        self.opened = []

    def side(self, name, ms, bias=lambda machine: 1.0):
        """A model of this latency; every session of it has a bias of its own."""

        def open_session():
            self.opened.append(name)
            factor = bias(self)

            def run(names, feeds):
                took = int(ms() * factor * self.drift(self.now / 1e9) * 1e6)
                self.cpu += took
                if self.rng.random() < self.share:
                    self.switches += 1
                    took += 4_000_000
                self.now += took

            return run, ["y"], {}

        return Side(name, open_session)

    def snapshot(self):
        return self.switches, self.cpu

    def steal_share(self):
        return 0.0

    def others_share(self):
        return 0.0

    def duet(self, model, rival, limit=1.03, **options):
        return duet(model, rival, limit=limit, clock=lambda: self.now, probe=self, **options)


def around(machine, ms, spread=0.01):
    """Latencies with one-sided noise, as real ones have."""
    return lambda: ms * (1 + abs(machine.rng.gauss(0, spread)))


def test_equal_models_pass_and_a_slower_one_fails():
    """The same model passes at 3 %; one that is 5 % slower fails, with a ratio that says so."""
    machine = Machine()
    same = machine.duet(machine.side("model", around(machine, 1.0)), machine.side("rival", around(machine, 1.0)))
    slower = machine.duet(machine.side("model", around(machine, 1.05)), machine.side("rival", around(machine, 1.0)))

    assert (same.decision.ruling, slower.decision.ruling) == (Ruling.PASS, Ruling.FAIL)
    assert slower.decision.ratio == pytest.approx(1.05, abs=0.003)
    assert slower.self_check < 0.005
    assert same.self_check is None


def test_a_machine_that_changes_speed_changes_nothing():
    """Clock speed that swings by half within a second hits both sides alike."""
    machine = Machine(drift=lambda seconds: 1.25 + 0.25 * math.sin(6 * seconds))
    found = machine.duet(machine.side("model", around(machine, 1.0)), machine.side("rival", around(machine, 1.0)))

    assert found.decision.ruling is Ruling.PASS


def test_preempted_calls_do_not_count():
    """With every fifth call interrupted for 4 ms the verdicts are still those of the quiet machine."""
    machine = Machine(preempted=0.2)
    same = machine.duet(machine.side("model", around(machine, 1.0)), machine.side("rival", around(machine, 1.0)))
    slower = machine.duet(machine.side("model", around(machine, 1.2)), machine.side("rival", around(machine, 1.0)))

    assert (same.decision.ruling, slower.decision.ruling) == (Ruling.PASS, Ruling.FAIL)
    assert same.preempted_share == pytest.approx(0.2, abs=0.05)


def undecided(machine, model, rival):
    """A ratio at its limit."""
    found = machine.duet(model(around(machine, 1.03)), rival(around(machine, 1.0)))
    assert found.decision.pairs > 48
    return found


def test_sessions_are_made_anew_in_alternating_order():
    """Of a quick model a pair for every six pairs of bursts; who is opened first takes turns."""
    machine = Machine()
    found = undecided(machine, lambda ms: machine.side("model", ms), lambda ms: machine.side("rival", ms))

    assert found.sessions >= found.decision.pairs / ROUND_PAIRS
    firsts = machine.opened[::2]
    assert set(itertools.pairwise(firsts)) == {("rival", "model"), ("model", "rival")}


def test_sessions_that_take_long_to_make_are_made_three_times_a_look():
    """Making them anew must not take longer than timing them."""
    machine = Machine()

    def slow(side):
        def opened():
            machine.now += 90_000_000
            return side.open()

        return Side(side.name, opened)

    found = undecided(machine, lambda ms: slow(machine.side("model", ms)), lambda ms: slow(machine.side("rival", ms)))

    assert found.sessions == ROUNDS * math.ceil(math.log2(found.decision.pairs / 6))


def test_a_fail_that_two_copies_of_one_model_could_cause_is_none():
    """Where sessions of one and the same model differ by several per cent, a 5 % slower one is not failed."""
    machine = Machine()

    def unfair(machine):
        """The sessions of the first look are equal; of the self-check's copies the second to be opened loses."""
        return 1.06 if len(machine.opened) > 8 and len(machine.opened) % 2 else 1.0

    rival = machine.side("rival", around(machine, 1.0), unfair)
    found = machine.duet(machine.side("model", around(machine, 1.05)), rival)

    assert found.decision.ruling is Ruling.INCONCLUSIVE
    assert found.self_check > 0.01
    assert found.decision.reason.startswith("machine unfair: two sessions of one model differed by ")


@pytest.mark.parametrize(("ms", "burst"), [(0.01, 32), (0.5, 12), (1.0, 5), (4.0, 2), (30.0, 1)])
def test_bursts_last_about_five_milliseconds(ms, burst):
    """Between one call and thirty-two, in turns of four where they are short."""
    machine = Machine()
    found = machine.duet(machine.side("model", around(machine, ms, 0)), machine.side("rival", around(machine, ms, 0)))

    assert found.bursts == (burst, burst)
    assert found.decision.ruling is Ruling.PASS


def test_sides_of_different_speed_have_bursts_of_their_own():
    """A framework's model of 30 ms does not leave the fast file a single cold call at a time."""
    machine = Machine()
    found = machine.duet(machine.side("model", lambda: 0.5), machine.side("rival", lambda: 30.0), limit=1 / 2)

    assert found.bursts == (10, 1)
    assert found.decision.ruling is Ruling.PASS


def test_a_verdict_on_a_model_of_a_millisecond_takes_less_than_a_second_and_a_half():
    """On the machine's own clock, a fail with its self-check included."""
    machine = Machine()
    for ms in (1.0, 1.05):
        rival = machine.side("rival", around(machine, 1.0))
        assert machine.duet(machine.side("model", around(machine, ms)), rival).elapsed_s < 1.5


def test_time_ends():
    """A ratio at its limit is given up on in eight seconds; a given time is obeyed."""
    for machine, options, least, most in (
        (Machine(), {}, 2, LONGEST_S + 1),
        (Machine(preempted=0.3), {}, 2, LONGEST_S + 1),
        (Machine(), {"max_time_s": 0.3}, 0.3, 0.8),
    ):
        model = machine.side("model", around(machine, 1.03))
        found = machine.duet(model, machine.side("rival", around(machine, 1.0)), **options)

        assert found.decision.ruling is Ruling.INCONCLUSIVE
        assert least <= found.elapsed_s <= most


def test_slow_models_get_their_twelve_pairs():
    """Half a second a call: twelve pairs of one call each, however long they take."""
    machine = Machine()
    found = machine.duet(machine.side("model", lambda: 400.0), machine.side("rival", lambda: 500.0))

    assert (found.decision.ruling, found.decision.pairs, found.bursts) == (Ruling.PASS, 12, (1, 1))


def test_a_side_that_does_not_run_is_named():
    """The error says which of the two it was."""
    machine = Machine()

    def broken():
        raise RuntimeError("no such shape")

    with pytest.raises(OnnxPrepError, match="the old file cannot be timed, it refuses to run: no such shape"):
        machine.duet(machine.side("the model", lambda: 1.0), function_side("the old file", broken))
    with pytest.raises(OnnxPrepError, match="the old file cannot be loaded: no such shape"):
        machine.duet(machine.side("the model", lambda: 1.0), Side("the old file", broken))


def reported(asked, **of_machine):
    """The report of a model of 1.2 ms against one of 1 ms."""
    machine = Machine(**of_machine)
    model = machine.side("model", around(machine, 1.2))
    found = machine.duet(model, machine.side("rival", around(machine, 1.0)), limit=asked.limit)
    return DuetReport(found, asked, "the baseline of 2026-11-25")


def test_words_of_a_regression():
    """Per cent, interval, what it was compared with, what was asked, and how many pairs."""
    fail = reported(read_comparisons("3%", None, None)[0])
    fine = reported(read_comparisons("50%", None, None)[0])

    assert fail.summary().startswith(("19.", "20."))
    assert "% slower than the baseline of 2026-11-25 (95 % interval +" in fail.summary()
    assert fail.summary().endswith("max_regression is 3 %, 12 pairs")
    assert fine.summary().endswith("within max_regression 50 %, 12 pairs")
    assert "fastest call" in fail.details()
    assert "two sessions of one model differ by" in fail.details()


def test_words_of_a_speedup():
    """A factor, not per cent."""
    fail = reported(read_comparisons(None, 1.5, "framework")[0])

    assert fail.summary().startswith("0.83")
    assert "times as fast as the baseline of 2026-11-25 (95 % interval 0.8" in fail.summary()
    assert "min_speedup is 1.5" in fail.summary()
    assert fail.figures()["speedup"] == pytest.approx(1 / 1.2, abs=0.02)


def test_figures_are_json_able_and_complete():
    """Ratio, interval, limit, both sides' times, and the circumstances."""
    figures = reported(read_comparisons("3%", None, None)[0]).figures()

    assert json.loads(json.dumps(figures, allow_nan=False)) == figures
    assert figures["regression"] == pytest.approx(0.2, abs=0.02)
    assert figures["ratio_interval"][0] <= figures["ratio"] <= figures["ratio_interval"][1]
    assert figures["ratio_limit"] == pytest.approx(1.03)
    assert figures["min_ms"] <= figures["p50_ms"] <= figures["p95_ms"]
    assert figures["rival_p50_ms"] < figures["p50_ms"]


def test_real_sessions(tmp_path):
    """ONNX files are played too; a graph with two hundred times the work fails whatever else the machine does."""
    names = {}
    for name, layers in (("small", 1), ("large", 200)):
        nodes = [
            helper.make_node("MatMul", ["x" if i == 0 else f"h{i}", "w"], ["y" if i == layers - 1 else f"h{i + 1}"])
            for i in range(layers)
        ]
        weight = helper.make_tensor("w", TensorProto.FLOAT, [64, 64], np.eye(64, dtype=np.float32).ravel())
        values = [helper.make_tensor_value_info(each, TensorProto.FLOAT, [16, 64]) for each in "xy"]
        graph = helper.make_graph(nodes, "chain", values[:1], values[1:], [weight])
        names[name] = tmp_path / f"{name}.onnx"
        onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), names[name])
    feeds = {"x": np.ones((16, 64), np.float32)}
    small, large = (onnx_side(name, path, feeds, provider=None, threads=1) for name, path in names.items())

    assert duet(large, small, limit=1.5).decision.ruling is Ruling.FAIL
    assert duet(small, large, limit=1 / 2).decision.ruling is Ruling.PASS
