"""What a converter says is kept, in whatever way it says it; the terminal and the process stay as they were."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import warnings

import pytest

from pytest_onnxprep.exporters.chatter import captured


@pytest.fixture
def loud():
    """A logger with a handler of its own that does not propagate, as frameworks make them."""
    logger = logging.getLogger("onnxprep_test.loud")
    handler = logging.StreamHandler(sys.stderr)
    logger.addHandler(handler)
    logger.propagate = False
    yield logger
    logger.removeHandler(handler)
    logger.propagate = True


def speak(logger: logging.Logger) -> None:
    """Every way of saying something."""
    print("printed")
    print("to stderr", file=sys.stderr)
    os.write(1, b"native out\n")
    os.write(2, b"native err\n")
    subprocess.run([sys.executable, "-c", "print('child')"], check=True)
    logger.warning("\x1b[96mlogged\x1b[0m %d", 1)
    logging.getLogger("onnxprep_test.plain").error("at the root")
    warnings.warn("frozen branch", RuntimeWarning, stacklevel=1)
    warnings.warn("old name", DeprecationWarning, stacklevel=1)


def test_everything_said_is_kept(loud, capfd):
    """Prints, logs, warnings and native output are lines; nothing reaches the terminal."""
    with captured() as chatter:
        speak(loud)

    text = chatter.text
    for words in (
        "printed",
        "to stderr",
        "native out",
        "native err",
        "child",
        "logged 1",
        "at the root",
        "frozen branch",
    ):
        assert words in text, words
    assert "old name" not in text, "deprecations of a converter say nothing about a model"
    assert "\x1b" not in text
    assert capfd.readouterr() == ("", "")


def test_warnings_come_first(loud):
    """They tell what was frozen, and must not drown."""
    with captured() as chatter:
        speak(loud)

    assert chatter.lines()[0].startswith("RuntimeWarning at ")


def test_said_once_for_the_same_log_line(loud):
    """A converter that repeats itself for every node is quoted once."""
    with captured() as chatter:
        for _ in range(5):
            loud.warning("again")

    assert chatter.lines() == ["WARNING onnxprep_test.loud: again"]


def test_long_output_is_cut_in_the_middle():
    """Beginning and end of a flood are kept."""
    with captured() as chatter:
        for number in range(500):
            print("line", number)
    lines = chatter.lines()

    assert len(lines) == 61
    assert (lines[0], lines[-1]) == ("line 0", "line 499")
    assert "440 lines left out" in lines[30]


@pytest.mark.parametrize("fails", [False, True])
def test_process_is_as_before(loud, fails, capfd):
    """Streams, descriptors, handlers, propagation and warning filters are put back, after an error too."""
    root = logging.getLogger()
    before = (sys.stdout, sys.stderr, list(root.handlers), list(loud.handlers), loud.propagate, list(warnings.filters))
    try:
        with captured():
            speak(loud)
            if fails:
                raise KeyError("converter")
    except KeyError:
        assert fails
    after = (sys.stdout, sys.stderr, list(root.handlers), list(loud.handlers), loud.propagate, list(warnings.filters))
    os.write(1, b"heard")
    loud.warning("heard too")

    assert after == before
    assert capfd.readouterr().out == "heard"


def test_handler_made_by_a_first_import_survives():
    """A framework that sets up its logging inside an export keeps its handler, and not our stream."""
    logger = logging.getLogger("onnxprep_test.late")
    with captured() as chatter:
        handler = logging.StreamHandler()
        logger.addHandler(handler)
        logger.warning("first words")
    try:
        assert logger.handlers == [handler]
        assert handler.stream is sys.__stderr__
        assert "first words" in chatter.text
    finally:
        logger.removeHandler(handler)


def test_handler_added_to_a_known_logger_survives(loud):
    """Neither the old nor the new handlers of a logger are lost."""
    old, new = list(loud.handlers), logging.NullHandler()
    with captured():
        loud.addHandler(new)

    assert loud.handlers == [*old, new]
    loud.removeHandler(new)


def test_malformed_log_call_does_no_harm(loud):
    """A converter's wrong format string must not break its export."""
    with captured() as chatter:
        loud.warning("%d items", "many")

    assert chatter.lines() == []


def test_warnings_do_not_become_errors():
    """Under ``-W error`` a converter's warning is still only a line."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with captured() as chatter:
            warnings.warn("careful", UserWarning, stacklevel=1)

    assert "careful" in chatter.text
