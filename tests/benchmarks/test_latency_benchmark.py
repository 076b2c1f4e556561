"""The latency benchmark measures what it says and judges its bars by what it measured."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.latency import __main__ as latency
from benchmarks.latency.models import chain

ROOT = Path(__file__).parent.parent.parent


def process(**rulings):
    """What one process found."""
    loops = {
        f"loop {name}": {"mean_s": s, "p95_s": s, "p95_of_100_s": s} for name, s in (("A", 1e-3), ("+5 %", 1.06e-3))
    }
    return loops | {name: {"ruling": ruling, "preempted": 0.01, "stretch": 1.0} for name, ruling in rulings.items()}


GOOD = {"A/A": "pass", "+5 %": "fail", "+20 %": "fail", "x1.5": "fail", "within": "pass", "over": "fail"}
BUSY = {"A/A": "inconclusive", "+5 %": "inconclusive", "x1.5": "fail", "within": "inconclusive", "over": "fail"}


def test_a_process_of_its_own_measures_real_files(tmp_path):
    """The child plays, holds and loops, and imports no framework for it."""
    small, large = chain(tmp_path / "small.onnx", 2), chain(tmp_path / "large.onnx", 60)
    steps = {
        "loop": {"do": "loop", "model": str(small), "seconds": 0.01},
        "play": {"do": "play", "model": str(large), "rival": str(small), "limit": 1.5},
        "hold": {"do": "hold", "model": str(small), "p95_ms": 60_000},
    }
    code = (
        "import json, sys; from benchmarks.latency.child import main; found = main(json.loads(sys.argv[1])); "
        "print(json.dumps([found, [n for n in ('torch', 'tensorflow', 'jax', 'pytest') if n in sys.modules]]))"
    )
    command = [sys.executable, "-c", code, json.dumps(steps)]
    found, imported = json.loads(subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT).stdout)

    assert imported == []
    assert found["play"]["ruling"] == "fail"
    assert found["play"]["ratio"] > 2
    assert found["hold"]["ruling"] == "pass"
    assert found["loop"]["n"] >= 1


def test_bars_are_met_where_nothing_is_wrong():
    """Thirty good quiet processes, thirty that could not tell under load."""
    result = latency._duets([process(**GOOD)] * 30, [process(**BUSY)] * 30)

    assert result.met
    assert "+5 % fails 30 of 30 quiet, passes 0 of 30 with hogs" in result.measured
    assert ["+5 %", "quiet", "fail", "30/0/0", "fails 100%", "fails 100%"] in result.rows
    assert latency._budgets([process(**GOOD)] * 30, [process(**BUSY)] * 30, 2.0, 1.4).met


@pytest.mark.parametrize(
    ("quiet", "busy"),
    [
        (GOOD | {"A/A": "fail"}, BUSY),
        (GOOD, BUSY | {"A/A": "fail"}),
        (GOOD | {"+5 %": "inconclusive"}, BUSY),
        (GOOD, BUSY | {"+5 %": "pass"}),
        (GOOD | {"+20 %": "inconclusive"}, BUSY),
        (GOOD, BUSY | {"x1.5": "inconclusive"}),
    ],
)
def test_each_bar_can_be_missed(quiet, busy):
    """Two processes of thirty that do wrong are enough."""
    quiet_ones = [process(**GOOD)] * 28 + [process(**quiet)] * 2
    busy_ones = [process(**BUSY)] * 28 + [process(**busy)] * 2

    assert not latency._duets(quiet_ones, busy_ones).met


@pytest.mark.parametrize(
    ("quiet", "busy"),
    [
        (GOOD | {"within": "fail"}, BUSY),
        (GOOD, BUSY | {"within": "fail"}),
        (GOOD | {"over": "pass"}, BUSY),
        (GOOD, BUSY | {"over": "inconclusive"}),
    ],
)
def test_each_bar_of_the_budget_can_be_missed(quiet, busy):
    """One process is enough."""
    assert not latency._budgets([process(**quiet)], [process(**busy)], 2.0, 1.4).met


def test_a_verdict_that_takes_long_misses_its_bar():
    """A second and a half at worst."""
    for seconds, met in ((1.4, True), (1.6, False)):
        timed = [{"verdict": {"elapsed_s": s, "ruling": "pass"}} for s in (0.5, seconds)]
        assert latency._time(timed).met is met


def test_a_budget_made_on_a_busy_machine_is_said_to_be_one():
    """Where p95 is many times the fastest call, the budget means nothing, and the note says so."""
    assert "repeat it" in latency._budgets([process(**GOOD)], [process(**BUSY)], 20.0, 0.5).note
    assert "repeat it" not in latency._budgets([process(**GOOD)], [process(**BUSY)], 2.0, 1.4).note
