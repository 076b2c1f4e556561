"""Measurements end to end, on a model whose latency is a script and whose calls move the clock."""

from __future__ import annotations

import json
import random
from types import SimpleNamespace

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from pytest_onnxprep.errors import OnnxPrepError, SpecError
from pytest_onnxprep.runtime.latency import measure
from pytest_onnxprep.runtime.sampler import Probe
from pytest_onnxprep.runtime.session import make_session
from pytest_onnxprep.spec.verdict import Verdict


class Simulation(Probe):
    """Session, clock and probe in one: no call takes real time, none is really preempted."""

    def __init__(self, latency_ms, preempted=lambda: False, steal=0.0, others=0.0):
        super().__init__(1)
        self.latency_ms, self.preempted, self.steal, self.others = latency_ms, preempted, steal, others
        self.now = self.switches = self.cpu = 0

    def run(self, names, feeds):
        assert names == ["y"]
        took = int(self.latency_ms() * 1e6)
        self.now += took
        if self.preempted():
            self.switches += 1
            took //= 2
        self.cpu += took

    def get_outputs(self):
        return [SimpleNamespace(name="y")]

    def get_providers(self):
        return ["CPUExecutionProvider"]

    def snapshot(self):
        return self.switches, self.cpu

    def steal_share(self):
        return self.steal

    def others_share(self):
        return self.others

    def measure(self, max_time_s=3.0, **budgets):
        return measure(self, {}, budgets=budgets, threads=1, max_time_s=max_time_s, clock=lambda: self.now, probe=self)


def around(ms, seed=0, spread=0.02):
    """Latencies that are normal around a value."""
    rng = random.Random(seed)
    return lambda: rng.gauss(ms, spread * ms)


def test_pass_tells_figure_interval_budget_and_calls():
    """A pass is one line with everything that backs it."""
    found = Simulation(around(3.2)).measure(p95_ms=15)

    assert found.verdict is Verdict.PASS
    assert found.summary == "p95 3.31 ms (95 % interval 3.28..3.35) within 15 ms, n=128"
    assert found.details == ""
    assert len(found.samples_s) == 128


def test_figures_are_complete_and_json_able():
    """The figures hold all percentiles, the interval, the circumstances and the budget, and survive JSON."""
    found = Simulation(around(3.2), steal=0.004).measure(p95_ms=15, mean_ms=9)
    figures = json.loads(json.dumps(found.figures, allow_nan=False))

    assert figures == found.figures
    assert figures["min_ms"] < figures["p50_ms"] < figures["p90_ms"] < figures["p95_ms"] < figures["p99_ms"]
    assert figures["p95_interval_ms"][0] <= figures["p95_ms"] <= figures["p95_interval_ms"][1]
    assert figures["mean_interval_ms"][0] <= figures["mean_ms"] <= figures["mean_interval_ms"][1]
    assert figures["budget"] == {"p95_ms": 15.0, "mean_ms": 9.0}
    assert (figures["n"], figures["preempted_share"], figures["steal_share"]) == (128, 0.0, 0.004)
    assert (figures["threads"], figures["provider"], figures["gc"]) == (1, "CPUExecutionProvider", "off")
    assert 1 <= figures["effective_n"] <= 128


def test_fail_tells_by_how_much_and_why_it_is_certain():
    """A fail names budget, figure, interval, excess and certificate, and details hold the table."""
    found = Simulation(around(18)).measure(p95_ms=15)

    assert found.verdict is Verdict.FAIL
    assert found.summary.startswith("p95 18.6 ms (95 % interval 18.5..18.9) over 15 ms by 3.65 ms (24 %), n=128")
    assert found.summary.endswith("; the machine was quiet")
    assert found.details.startswith(found.summary)
    assert any(
        line.split()[0] == "p95" and line.endswith("15  over by 24 %") for line in found.details.splitlines()[2:]
    )
    assert found.details.splitlines()[-1].startswith("Hint: a budget is an upper limit with 25 to 35 % headroom")


def test_only_failed_budgets_are_named_in_a_fail():
    """Of several budgets the summary names those that fail, the table all."""
    found = Simulation(around(18)).measure(p50_ms=15, p99_ms=40)

    assert found.verdict is Verdict.FAIL
    assert "p99" not in found.summary
    assert "p99" in found.details


def test_a_burst_of_a_few_milliseconds_does_not_fail():
    """A fail is only believed once half a second has been seen: the slow start of this model is a neighbour's."""
    simulation = Simulation(lambda: 3.0 if simulation.now < 400e6 else 0.5)
    found = simulation.measure(p50_ms=1)

    assert found.verdict is Verdict.PASS
    assert len(found.samples_s) > 128


def test_noise_is_inconclusive():
    """Over the budget on a machine that preempts every fifth call is not the model's proven fault."""
    rng = random.Random(0)
    found = Simulation(lambda: 11 if rng.random() < 0.2 else 9, preempted=lambda: rng.random() < 0.2).measure(p95_ms=10)

    assert found.verdict is Verdict.INCONCLUSIVE
    assert found.summary.startswith("machine noisy: ")
    assert "% of calls preempted (p95 11.0..11.0 ms around 10 ms), n=" in found.summary
    assert "run latency items alone" in found.details


def test_too_close_to_call():
    """A model that sits at its budget is told so, with the interval."""
    rng = random.Random(3)
    found = Simulation(lambda: 0.11 if rng.random() < 0.05 else 0.09).measure(p95_ms=0.1)

    assert found.verdict is Verdict.INCONCLUSIVE
    assert found.summary == "too close to call (p95 0.0900..0.110 ms around 0.1 ms), n=4096"
    assert "headroom" in found.details


def test_slow_models_respect_the_time_and_say_what_they_need():
    """Half a second a call gives six calls in 3 s, and the time a verdict would take."""
    simulation = Simulation(lambda: 500)
    found = simulation.measure(p95_ms=600)

    assert found.verdict is Verdict.INCONCLUSIVE
    assert found.summary == (
        "p95 needs at least 59 calls; 6 were made in 3 s; raise max_time_s to 33 (p95 so far 500 ms of 600 ms)"
    )
    assert found.figures["p95_interval_ms"] == [500.0, None]
    assert "prefer mean_ms or p50_ms" in found.details


def test_slow_models_far_over_their_budget_fail():
    """Six calls are enough for a model thirty times over, even one that is preempted at each of them."""
    for preempted in (False, True):
        found = Simulation(lambda: 500, preempted=lambda preempted=preempted: preempted).measure(p95_ms=15)

        assert found.verdict is Verdict.FAIL
        assert "n=6; every call took over twice the budget" in found.summary


def test_four_calls_may_take_twice_the_time():
    """A model of 1.4 s a call is given the four calls that a gross violation needs, one of 5 s is not."""
    assert len(Simulation(lambda: 1400).measure(p95_ms=15).samples_s) == 4
    assert len(Simulation(lambda: 5000).measure(p95_ms=15).samples_s) == 2


def test_slow_models_may_pass_a_mean():
    """A mean within its budget needs a handful of calls only."""
    assert Simulation(around(300)).measure(mean_ms=400).verdict is Verdict.PASS


def test_without_budgets_it_only_measures():
    """No budgets: 256 calls, a pass, and the figures."""
    found = Simulation(around(3.2)).measure()

    assert found.verdict is Verdict.PASS
    assert found.summary.endswith("no budget, n=256")
    assert found.figures["budget"] == {}
    assert len(Simulation(around(100)).measure(max_time_s=1.0).samples_s) in (10, 11)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"p96_ms": 5}, "unknown latency budget 'p96_ms'; did you mean 'p9"),
        ({"p95_ms": 0}, "p95_ms must be a positive number of milliseconds, not 0"),
        ({"p95_ms": "5"}, "p95_ms must be a positive number"),
        ({"mean_ms": float("nan")}, "mean_ms must be a positive number"),
        ({"p95_ms": 5, "max_time_s": -1}, "max_time_s must be a positive number of seconds"),
    ],
)
def test_malformed_budgets_are_refused(arguments, message):
    """A wrong name or number is an error before anything is run."""
    with pytest.raises(SpecError, match=message):
        Simulation(lambda: 1).measure(**arguments)


def test_a_model_that_does_not_run_is_an_error():
    """What ONNX Runtime refuses to run is a broken test, not a slow model."""

    def refuse():
        raise RuntimeError("Invalid rank for input: x")

    with pytest.raises(OnnxPrepError, match=r"cannot be timed, .* Invalid rank for input: x"):
        Simulation(refuse).measure(p95_ms=1)


def test_a_real_session_is_measured(tmp_path):
    """On a real model and clock a generous budget passes, with a sample for every call."""
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        [helper.make_node("Relu", ["x"], ["y"])],
        "tiny",
        [value("x", TensorProto.FLOAT, [2])],
        [value("y", TensorProto.FLOAT, [2])],
    )
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), tmp_path / "relu.onnx"
    )
    session = make_session(tmp_path / "relu.onnx", threads=1)

    found = measure(session, {"x": np.ones(2, "float32")}, budgets={"p50_ms": 60_000}, threads=1)

    assert found.verdict is Verdict.PASS
    assert found.figures["n"] == len(found.samples_s) == 128
