"""The table at the end of a run."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_onnxprep.report.records import rows
from pytest_onnxprep.report.terminal import table


def record(nodeid: str, check: str, verdict: str = "pass", summary: str = "", **figures: Any) -> dict[str, Any]:
    """One record of a torchscript export at opset 17."""
    variant = {"exporter": "torchscript", "opset": 17}
    nodeid = f"{nodeid}[torchscript-opset17-{check}]"
    return {
        "nodeid": nodeid,
        "check": check,
        "variant": variant,
        "verdict": verdict,
        "summary": summary,
        "figures": figures,
    }


def test_nothing_without_records() -> None:
    """No records, no lines."""
    assert table([], 120) == []


def test_whole_table() -> None:
    """Figures are aligned under their units, notes and the signs' meaning follow."""
    records = [
        record("a.py::test_net", "export", export_s=4.123, cached=False, nodes=152, mb=13.62),
        record("a.py::test_net", "parity", examples=108, max_abs=1.24e-6, atol=1e-4, rtol=1e-3),
        record("a.py::test_net", "latency", p50_ms=9.31, p95_ms=12.34, budget={"p95_ms": 15}),
        record("a.py::test_words", "export", export_s=11.2, cached=True, nodes=9, mb=0.0123),
        record("a.py::test_words", "parity", "fail", "logits differs by 0.4", examples=7, max_abs=0.413, atol=1e-4),
    ]
    lines = table(rows(records), 80)

    assert lines == [
        ("                            export                exam-     max error   p50   p95 ms", "bold"),
        ("model/test  variant              s  nodes     MB   ples          /tol    ms  /budget  verdict", "bold"),
        ("test_net    torchscript 17   4.12     152   13.6    108  1.2e-06/1e-4  9.31  12.3/15  pass", ""),
        ("test_words  torchscript 17   11.2*      9  0.012      7    0.413/1e-4     -        -  fail", "red"),
        ("* export made earlier, taken from the cache; tol is atol, rtol x |expected| comes on top", "light"),
        ("", ""),
        ("fail: parity of test_words torchscript-opset17: logits differs by 0.4", "red"),
    ]


def test_columns_nobody_fills_are_left_out() -> None:
    """A run without latency checks shows no latency columns."""
    text = "\n".join(line for line, _ in table(rows([record("a.py::test_net", "size", mb=3.0)]), 80))

    assert "MB" in text
    assert not any(word in text for word in ("p50", "p95", "max error", "export", "*"))


@pytest.mark.parametrize(
    ("verdict", "colour"),
    [("pass", ""), ("skip", "light"), ("inconclusive", "yellow"), ("fail", "red"), ("error", "red"), ("new", "red")],
)
def test_colours(verdict: str, colour: str) -> None:
    """The verdict gives the line its colour."""
    lines = table(rows([record("a.py::test_net", "size", verdict, mb=3.0)]), 80)

    assert lines[1][1] == colour


def test_other_percentile_is_named() -> None:
    """A figure under p95 that is another percentile says so."""
    figures: dict[str, Any] = {"p95_ms": 1.0, "p99_ms": 2.0, "budget": {"p99_ms": 2.5}}
    lines = table(rows([record("a.py::test_net", "latency", **figures)]), 80)

    assert " p99 2/2.5 " in lines[2][0]


def test_long_names_are_cut_in_the_middle() -> None:
    """A long name keeps both ends, and a wide terminal shows all of it."""
    name = "test_" + "very_" * 30 + "last"
    found = rows([record(f"a.py::{name}", "size", mb=3.0)])

    assert name in table(found, 250)[1][0]
    narrow = table(found, 80)[1][0]
    assert narrow.startswith("test_very_")
    assert ".." in narrow
    assert "_last " in narrow


def test_long_summary_goes_on_below() -> None:
    """Nothing of a summary is lost: what does not fit its line is indented below."""
    summary = "word " * 60 + "end"
    lines = table(rows([record("a.py::test_net", "size", "fail", summary, mb=3.0)]), 80)
    notes = [line for line, _ in lines[lines.index(("", "")) + 1 :]]

    assert notes[0].startswith("fail: size of test_net")
    assert all(line.startswith("    ") for line in notes[1:])
    assert " ".join(line.strip() for line in notes).endswith(summary)


values = st.one_of(st.none(), st.floats(), st.integers(-(10**12), 10**12), st.sampled_from(["inf", "nan", "x"]))
keys = st.sampled_from(
    ["export_s", "nodes", "mb", "examples", "max_abs", "atol", "rtol", "p50_ms", "p95_ms", "p99_ms", "mean_ms"]
)
strange_records = st.fixed_dictionaries(
    {
        "nodeid": st.text(max_size=80),
        "check": st.sampled_from(["export", "parity", "latency", "size", "hologram"]),
        "variant": st.fixed_dictionaries({"exporter": st.text(max_size=40), "opset": st.integers(1, 30)}),
        "verdict": st.sampled_from(["pass", "fail", "inconclusive", "skip", "error", "", "x" * 50]),
        "summary": st.text(max_size=300),
        "figures": st.dictionaries(keys, values).flatmap(
            lambda figures: st.just(figures | {"cached": True, "budget": figures})
        ),
    }
)


@settings(deadline=None)
@given(st.lists(strange_records, max_size=6), st.integers(0, 200))
def test_lines_fit(records: list[dict[str, Any]], width: int) -> None:
    """Whatever the records hold, no line is longer than the terminal (or 100 columns) and none has a line break."""
    for line, _ in table(rows(records), width):
        assert len(line) <= max(100, width)
        assert "\n" not in line


def test_least_needed_columns_give_way() -> None:
    """Where even short names leave no room p50 goes first; the error, the latency and the verdict always stay."""
    variant = {"exporter": "transformers-library", "opset": 17}
    name = "a.py::test_speech_transcriber[transformers-library-opset17-int8-dynamic-{}]"
    figures: dict[str, dict[str, Any]] = {
        "export": {"export_s": 123.4, "cached": True, "nodes": 123456, "mb": 1234.0},
        "parity": {"examples": 123456, "max_abs": 1.2e-12, "atol": 1.5e-12},
        "latency": {"p50_ms": 12345.0, "p99_ms": 54321.0, "budget": {"p99_ms": 99999.0}},
    }
    records = [
        {"nodeid": name.format(check), "check": check, "variant": variant, "verdict": "inconclusive", "figures": found}
        for check, found in figures.items()
    ]
    narrow, wide = table(rows(records), 80), table(rows(records), 200)

    assert "p50" in wide[0][0]
    assert "p50" not in narrow[0][0]
    assert "1.2e-12/1.5e-12 p99 54321/99999 inconclusive" in " ".join(narrow[2][0].split())
