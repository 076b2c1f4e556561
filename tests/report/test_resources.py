"""Memory, start-up and throughput in the report."""

from __future__ import annotations

from typing import Any

from pytest_onnxprep.report.markdown import markdown
from pytest_onnxprep.report.records import rows
from pytest_onnxprep.report.resource_columns import measured
from pytest_onnxprep.report.resources import Against, resources
from pytest_onnxprep.report.terminal import table


def record(check: str, label: str = "", **figures: Any) -> dict[str, Any]:
    """One record of a test with one variant."""
    return {
        "nodeid": f"suites/test_zoo.py::test_net[dynamo-opset20-{check}{label}]",
        "check": check,
        "variant": {"exporter": "dynamo", "opset": 20},
        "verdict": "pass",
        "figures": figures,
    }


RECORDS = [
    record("export", export_s=1.0, nodes=10, mb=2.0),
    record("memory", "-batch1", peak_mb=80.0, model_mb=30.0, arena_mb=9.0, budget={"peak_mb": 100}, at={"batch": 1}),
    record("memory", "-batch8", peak_mb=99.0, model_mb=49.0, arena_mb=33.5, budget={"peak_mb": 100}, at={"batch": 8}),
    record("startup", load_ms=12.5, first_run_ms=3.0, budget={"load_ms": 50}),
    record("throughput", per_s=640.0, cores_used=0.98, recommended_threads=2, budget={"min_per_s": 500}),
]


def test_checks_meet_in_one_row() -> None:
    """Of several sizes the one nearest to its budget is shown, whole."""
    (row,) = rows(RECORDS)
    found = row.resources

    assert found.peak_mb == Against(99.0, 100.0)
    assert found.model_mb == Against(49.0, None)
    assert found.arena_mb == 33.5
    assert found.load_ms == Against(12.5, 50.0)
    assert found.first_run_ms == Against(3.0, None)
    assert found.per_s == Against(640.0, 500.0)
    assert (found.cores_used, found.threads) == (0.98, 2.0)


def test_second_table_is_below_the_first() -> None:
    """Its columns are those that have something to show."""
    lines = [line for line, _ in table(rows(RECORDS), 100)]

    assert (
        lines[:3]
        == [
            "                           export",
            "model/test  variant             s  nodes  MB",
            "test_net    dynamo 20           1     10   2",
        ]
        or "verdict" in lines[1]
    )
    second = lines[lines.index("") + 1 :]
    assert " ".join(second[0].split()) == "peak MB model arena load ms 1st run per s cores threads"
    assert " ".join(second[2].split()) == "test_net dynamo 20 99/100 49 33.5 12.5/50 3 640/500 0.98 2"
    assert max(map(len, lines)) <= 100


def test_no_second_table_without_figures() -> None:
    """Runs without these budgets look as they always did."""
    found = rows(RECORDS[:1])

    assert measured(found) == []
    assert "" not in [line for line, _ in table(found, 100)]


def test_an_unsure_recommendation_is_marked() -> None:
    """A sweep on a busy machine has a question mark, and a legend."""
    busy = record("throughput", per_s=5.0, recommended_threads=2, sweep_quiet=False, budget={"min_per_s": 1})
    lines = [line for line, _ in table(rows([busy]), 100)]

    assert lines[-1] == "? the machine was busy while thread counts were compared"
    assert lines[-2].endswith("2?")


def test_markdown_has_both_tables() -> None:
    """The pull request's comment shows the second table too."""
    text = markdown(rows(RECORDS), {})

    assert "| 99/100 | 49 | 33.5 | 12.5/50 | 3 | 640/500 | 0.98 | 2 |" in text


def test_long_figures_fit() -> None:
    """Columns give way before a line gets longer than the terminal."""
    name = "speech_transcriber_with_a_very_long_name_and_more_of_it"
    figures = {
        "peak_mb": 123456.0,
        "model_mb": 99999.0,
        "arena_mb": 88888.0,
        "budget": {"peak_mb": 1e5, "model_mb": 1e5},
    }
    many = [
        record("memory", **figures),
        record("startup", load_ms=123456.0, first_run_ms=54321.0, budget={"load_ms": 99999, "first_run_ms": 99999}),
        record("throughput", per_s=123456.0, cores_used=15.97, recommended_threads=16, budget={"min_per_s": 1e6}),
    ]
    for one in many:
        one["nodeid"] = one["nodeid"].replace("test_net", name)
    for width in (80, 100, 140):
        assert max(len(line) for line, _ in table(rows(many), width)) <= max(width, 100)


def test_strange_figures_do_no_harm() -> None:
    """Missing, wrong and infinite figures are shown as nothing or as they are."""
    found = resources(
        {
            "memory": [{"peak_mb": "inf", "budget": 3}, {}],
            "startup": [{"load_ms": None, "budget": {"load_ms": 0}}],
            "throughput": [{"per_s": 0, "budget": {"min_per_s": 1}}, {"per_s": "x"}],
        }
    )

    assert found.peak_mb == Against(float("inf"), None)
    assert found.load_ms is None
    assert found.per_s is None or found.per_s.value == 0
