"""Text from files and frameworks, as a terminal may show it."""

from __future__ import annotations

import pickle

import pytest

from pytest_onnxprep.errors import ExportFailed, SourceError, SpecError
from pytest_onnxprep.spec.verdict import CheckResult, Verdict
from pytest_onnxprep.spec.visible import visible


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("layer/dense:0", "layer/dense:0"),
        ("größe 模型 🙂", "größe 模型 🙂"),
        ("a table\n\tof lines\r\n", "a table\n\tof lines\n"),
        ("\x1b[1mbold\x1b[0m and \x1b[31;1mred\x1b[m", "bold and red"),
        ("\x1b[2J\x1b]0;title\x07", r"\x1b[2J\x1b]0;title\x07"),
        ("over\rwritten\b\x7f\x9b2J\0", r"over\x0dwritten\x08\x7f\x9b2J\x00"),
        ("\u202etxt.exe\u2028", r"\u202etxt.exe\u2028"),
    ],
)
def test_control_characters_are_written_out(text: str, shown: str) -> None:
    """Colours go, lines stay, and whatever else moves the cursor is seen."""
    assert visible(text) == shown


@pytest.mark.parametrize("kind", [SourceError, SpecError])
def test_errors_are_visible(kind: type[Exception]) -> None:
    """Whoever prints them, in a fixture's traceback too; a copy from another process says the same."""
    error = kind("layer '\x1b[2J' is missing")

    assert str(error) == r"layer '\x1b[2J' is missing"
    assert str(pickle.loads(pickle.dumps(error))) == str(error)


def test_results_and_findings_are_visible() -> None:
    """The line, the whole text, and what is attached to it."""
    result = CheckResult(Verdict.FAIL, "a\x1b[2J", details="b\x1b[2J\nc", sections=(("d\x07", "e\x08"),))

    assert (result.summary, result.details) == (r"a\x1b[2J", "b\\x1b[2J\nc")
    assert result.sections == ((r"d\x07", r"e\x08"),)
    assert str(ExportFailed(result)) == result.details
