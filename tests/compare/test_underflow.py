"""Denormal inputs: whoever takes them for zero is not at fault, and nobody else hides behind them."""

from __future__ import annotations

import numpy as np
import pytest

from pytest_onnxprep.compare.underflow import is_underflow, without_denormals
from pytest_onnxprep.spec.tolerance import Tolerance

TINY = np.float32([1e-40, -1e-40, 0, 1, -2])


def sign(feeds):
    """The sign of every element, denormals included."""
    return {"y": np.sign(feeds["x"])}


def flushing(feeds):
    """The same, by a processor that takes denormals for zero."""
    x = feeds["x"]
    return {"y": np.sign(np.where(np.abs(x) < np.finfo(np.float32).tiny, np.float32(0), x))}


def wrong(feeds):
    """Neither of both."""
    return {"y": np.sign(feeds["x"]) + np.float32(1)}


def test_denormals_become_zeros_of_their_sign():
    """Only they; integers and other inputs stay the very arrays they were."""
    whole = np.arange(3)
    found = without_denormals({"x": TINY, "i": whole})

    assert found["x"].tolist() == [0, 0, 0, 1, -2]
    assert np.signbit(found["x"]).tolist() == [False, True, False, False, True]
    assert found["i"] is whole


@pytest.mark.parametrize("feeds", [{"x": np.float32([0, 1])}, {"i": np.arange(3)}, {"s": np.array(["a"], object)}])
def test_without_denormals_there_is_nothing_to_excuse(feeds):
    """No denormal, no underflow."""
    assert without_denormals(feeds) is None


@pytest.mark.parametrize(("framework", "file"), [(flushing, sign), (sign, flushing)])
def test_either_side_may_flush(framework, file):
    """XLA does where ONNX Runtime does not; a GPU does where NumPy does not."""
    feeds = {"x": TINY}

    assert is_underflow(feeds, "y", framework(feeds)["y"], file(feeds)["y"], framework, file, Tolerance())


def test_a_fault_stays_a_fault():
    """What differs without denormals, too, is no underflow."""
    feeds = {"x": TINY}

    assert not is_underflow(feeds, "y", sign(feeds)["y"], wrong(feeds)["y"], sign, wrong, Tolerance())
