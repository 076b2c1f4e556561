"""Who used the machine's CPUs."""

from __future__ import annotations

import os

import pytest

from pytest_onnxprep.runtime import cpu_account
from pytest_onnxprep.runtime.cpu_account import CpuAccount


def account(monkeypatch, later, own_s=0.0):
    """One whose readings are given: jiffies used, stolen, idle."""
    readings, seconds = iter([(0, 0, 0), later]), iter([0.0, own_s])
    monkeypatch.setattr(cpu_account, "read_machine", lambda: next(readings))
    monkeypatch.setattr(cpu_account, "own_s", lambda: next(seconds))
    return CpuAccount()


@pytest.mark.parametrize(
    ("later", "share"), [((1000, 0, 0), 0.0), ((1000, 1, 0), 0.0), ((900, 101, 0), 0.1), (None, None)]
)
def test_steal_is_the_share_of_time_wanted(monkeypatch, later, share):
    """One jiffy is rounding; beyond it the stolen share of busy time counts; no /proc/stat, no answer."""
    assert account(monkeypatch, later).steal_share() == share


@pytest.mark.parametrize(
    ("later", "own", "share"),
    [((501, 0, 500), 500, 0.0), ((751, 0, 250), 500, 0.25), ((300, 0, 700), 500, 0.0), (None, 0, None)],
)
def test_what_we_use_is_not_the_others(monkeypatch, later, own, share):
    """The share is of all CPUs there are, and never below nothing."""
    found = account(monkeypatch, later, own / os.sysconf("SC_CLK_TCK")).others_share()

    assert found == (None if share is None else pytest.approx(share, abs=0.001))


def test_nothing_has_passed(monkeypatch):
    """Between two ticks of the clock there is no share."""
    assert account(monkeypatch, (0, 0, 0)).others_share() is None


def test_own_seconds_never_run_backwards():
    """On a real system."""
    first = cpu_account.own_s()
    sum(range(100_000))

    assert cpu_account.own_s() > first
