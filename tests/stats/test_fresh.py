"""Verdicts over a few fresh processes."""

from __future__ import annotations

from math import comb

import pytest

from pytest_onnxprep.stats.fresh import GROSS, LOOKS, Process, Surroundings, is_quiet, judge_processes
from pytest_onnxprep.stats.sequential import Ruling

QUIET = Surroundings(others_share=0.01, steal_share=0.0)
BUSY = Surroundings(others_share=0.9, steal_share=0.0)


def runs(*values: float, floor: float = 1.0, waited: float = 0.0) -> list[Process]:
    """Processes that took so long; ``floor`` is the share of it that was their own."""
    return [Process(value, value * floor, waited) for value in values]


def errors_at_the_budget() -> tuple[float, float]:
    """Probability to pass and to fail where every process is over the budget with probability one half."""
    undecided, made, passed, failed = {0: 1.0}, 0, 0.0, 0.0
    for look in LOOKS:
        grown: dict[int, float] = {}
        for over, chance in undecided.items():
            for more in range(look - made + 1):
                add = chance * comb(look - made, more) / 2 ** (look - made)
                grown[over + more] = grown.get(over + more, 0.0) + add
        made, undecided = look, {}
        for over, chance in grown.items():
            ruling = judge_processes(runs(*[2.0] * over, *[0.5] * (look - over)), 1.0, QUIET, final=False)
            passed += chance * (ruling is Ruling.PASS)
            failed += chance * (ruling is Ruling.FAIL)
            if ruling is Ruling.CONTINUE:
                undecided[over] = chance
    return passed, failed


def test_errors_are_those_that_are_promised() -> None:
    """A model exactly at its budget passes in 6.3 % and fails in 0.8 % of all cases, looks and all."""
    passed, failed = errors_at_the_budget()

    assert passed == pytest.approx(0.063, abs=5e-4)
    assert failed == pytest.approx(0.0078, abs=5e-4)


@pytest.mark.parametrize("around", [QUIET, BUSY, Surroundings()])
def test_noise_does_not_stop_a_pass(around: Surroundings) -> None:
    """Other programs only add time: five of five within the budget pass on any machine."""
    assert judge_processes(runs(0.9, 0.8, 0.99, 0.5, 1.0, waited=0.5), 1.0, around, final=False) is Ruling.PASS


def test_five_are_too_few_to_fail() -> None:
    """Five of five over the budget happen by luck once in 32 times."""
    assert judge_processes(runs(*[9.0] * 5), 1.0, QUIET, final=False) is Ruling.CONTINUE


def test_a_quiet_machine_may_fail() -> None:
    """Eight of eight a little over the budget fail where nothing else ran."""
    assert judge_processes(runs(*[1.05] * 8), 1.0, QUIET, final=False) is Ruling.FAIL


@pytest.mark.parametrize("around", [BUSY, Surroundings(), Surroundings(0.01, steal_share=0.2)])
def test_a_busy_machine_may_not(around: Surroundings) -> None:
    """The same where others ran, where the host took CPU time, or where nobody knows: inconclusive at the end."""
    assert judge_processes(runs(*[1.05] * 8), 1.0, around, final=True) is Ruling.INCONCLUSIVE


def test_waiting_is_no_quiet() -> None:
    """Processes that were kept waiting are not certified, whatever the machine says of itself."""
    assert not is_quiet(runs(*[1.0] * 5, waited=0.2), QUIET)
    assert judge_processes(runs(*[1.1] * 8, waited=0.2), 1.0, QUIET, final=True) is Ruling.INCONCLUSIVE


def test_gross_excess_fails_on_a_busy_machine() -> None:
    """Where even the undisturbed time is over twice the budget, it was not the machine."""
    gross = GROSS * 1.01

    assert judge_processes(runs(*[gross * 2] * 8, floor=0.5, waited=0.5), 1.0, BUSY, final=False) is Ruling.FAIL
    assert judge_processes(runs(*[gross * 2] * 8, floor=0.4, waited=0.6), 1.0, BUSY, final=True) is Ruling.INCONCLUSIVE


def test_one_lucky_process_does_not_save_it() -> None:
    """Of eleven one may be within the budget."""
    assert judge_processes(runs(0.9, *[1.2] * 10), 1.0, QUIET, final=True) is Ruling.FAIL
    assert judge_processes(runs(0.9, 0.9, *[1.2] * 9), 1.0, QUIET, final=True) is Ruling.INCONCLUSIVE
