"""The record of an export: what one from the cache has to look like."""

from __future__ import annotations

from typing import Any

import pytest

from pytest_onnxprep.exporters.provenance import is_record

SOUND: dict[str, Any] = {
    "source": "Net (torch.nn.Module)",
    "framework": "torch",
    "exporter": "dynamo",
    "opset": 20,
    "export_s": 2.5,
    "outputs": ["y"],
    "traced_at": {"x": [2, 3]},
    "packages": {"torch": "2.9", "onnx": None},
    "converter_output": [],
    "narrowed": [
        {
            "guard": "n <= 4",
            "declared": {"n": "n = 1..8"},
            "file": "net.py",
            "line": 12,
            "function": "forward",
            "code": "if n > 4:",
            "try": [{"n": 5}],
            "minor": False,
        }
    ],
    "restored": ["a buffer"],
}


def test_a_record_as_exports_write_it() -> None:
    """With notes of exporters, of which there may be more."""
    assert is_record(SOUND)
    assert is_record({"outputs": []})


@pytest.mark.parametrize(
    "change",
    [
        {"outputs": None},
        {"outputs": "y"},
        {"outputs": [1]},
        {"export_s": "long"},
        {"traced_at": {"x": "2, 3"}},
        {"converter_output": [[]]},
        {"narrowed": [{}]},
        {"narrowed": [{**SOUND["narrowed"][0], "try": [{"n": "5"}]}]},
        {"narrowed": [{**SOUND["narrowed"][0], "guard": 5}]},
        {"not_isolated": 5},
    ],
)
def test_a_record_of_another_form(change: dict[str, Any]) -> None:
    """Checks and reports would fail on it."""
    assert not is_record({**SOUND, **change})


def test_a_record_without_outputs() -> None:
    """Nothing goes without them."""
    assert not is_record({})
