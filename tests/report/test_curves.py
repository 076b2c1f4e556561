"""Latency over size, from the records of one test's items."""

from __future__ import annotations

import pytest

from pytest_onnxprep.report.curves import curves, lines
from pytest_onnxprep.report.json_report import write_json
from pytest_onnxprep.report.markdown import markdown
from pytest_onnxprep.report.records import rows


def record(at, p50, variant="dynamo", name="test_net", verdict="pass"):
    """A latency record."""
    sizes = "-".join(f"{dim}{size}" for dim, size in at.items())
    return {
        "nodeid": f"test_a.py::{name}[{variant}-opset20-latency-{sizes}]",
        "test": name,
        "check": "latency",
        "variant": {"exporter": variant, "opset": 20},
        "verdict": verdict,
        "summary": "x",
        "figures": {"at": at, "p50_ms": p50, "p95_ms": 1.1 * p50 if p50 else None, "budget": {"p95_ms": 9.0}},
    }


LINEAR = [record({"batch": size, "h": 64}, 0.5 * size) for size in (8, 1, 32)]


def test_points_stand_in_order_of_size():
    """Only dims that vary are shown; growth is the exponent of the size."""
    (curve,) = curves(LINEAR)

    assert [point.label for point in curve.points] == ["batch=1", "batch=8", "batch=32"]
    assert [point.budget_ms for point in curve.points] == [9.0] * 3
    assert curve.growth == pytest.approx(1.0)


def test_lines_have_a_bar_each():
    """The longest bar belongs to the slowest size."""
    head, *body = lines(curves(LINEAR)[0])

    assert head == "latency over size: test_net dynamo-opset20 (p50 grows as batch^1.00)"
    assert [line.count("#") for line in body] == [1, 6, 24]
    assert body[2].endswith("p50 16 ms, p95 17.6 of 9")


def test_variants_have_curves_of_their_own():
    """A test in two variants draws two."""
    found = curves([*LINEAR, *(record({"batch": size, "h": 64}, 1.0, "torchscript") for size in (1, 2))])

    assert [curve.variant for curve in found] == ["dynamo-opset20", "torchscript-opset20"]


@pytest.mark.parametrize(
    "records",
    [
        [],
        LINEAR[:1],
        [record({"batch": 1}, None), record({"batch": 2}, None)],
        [{**LINEAR[0], "figures": {}}, {**LINEAR[1], "figures": None}],
        [{**one, "check": "parity"} for one in LINEAR],
    ],
)
def test_one_size_is_no_curve(records):
    """Nor is a size that was not measured."""
    assert curves(records) == []


def test_two_dims_that_vary_are_multiplied():
    """The exponent is then that of the product."""
    (curve,) = curves([record({"batch": 1, "seq": 8}, 1.0), record({"batch": 4, "seq": 32}, 4.0)])

    assert curve.growth == pytest.approx(0.5)
    assert lines(curve)[0].endswith("(p50 grows as (product of sizes)^0.50)")


def test_reports_have_the_curve(tmp_path):
    """Markdown folds it away, JSON lists its points."""
    text = markdown(rows(LINEAR), {}, curves(LINEAR))
    write_json(tmp_path / "report.json", LINEAR, {})

    assert "<details><summary>Latency over size</summary>" in text
    assert "p50 grows as batch^1.00" in text
    assert '"curves": [' in (tmp_path / "report.json").read_text()


def test_the_ratio_of_the_comparison_with_least_room_has_a_column():
    """Of several comparisons the one nearest to its limit is shown, with that limit."""
    one = record({"batch": 1}, 1.0)
    one["figures"]["comparisons"] = [{"ratio": 0.5, "ratio_limit": 0.66}, {"ratio": 1.02, "ratio_limit": 1.05}, {}]
    (row,) = rows([one])

    assert (row.ratio, row.ratio_limit) == (1.02, 1.05)
    assert "| 1.02/1.05 |" in markdown([row], {})


def test_a_speedup_is_shown_as_one():
    """How many times as fast it is, over how many times it ought to be."""
    one = record({"batch": 1}, 1.0)
    one["figures"]["comparisons"] = [{"ratio": 0.5, "ratio_limit": 1 / 1.5, "requirement": "min_speedup"}]

    text = markdown(rows([one]), {})
    assert "| x2/1.5 |" in text
    assert "how many times as fast" in text
