"""Records gathered into rows."""

from __future__ import annotations

from typing import Any

import pytest

from pytest_onnxprep.report.records import Latency, Note, Row, rows, worst


def record(check: str, where: str = "test_net[dynamo-opset20-{}]", **fields: Any) -> dict[str, Any]:
    """One record; ``where`` has room for the check and other keywords are fields or figures."""
    known = {"verdict": "pass", "summary": "fine", "variant": {"exporter": "dynamo", "opset": 20}}
    known |= {key: fields.pop(key) for key in list(fields) if key in (*known, "test")}
    nodeid = "suites/test_zoo.py::" + where.format(check)
    return {"nodeid": nodeid, "test": "test_net", "check": check, "figures": fields, "duration_s": 0.1, **known}


def only(records: list[dict[str, Any]]) -> Row:
    """The one row these records make."""
    (row,) = rows(records)
    return row


def test_no_records() -> None:
    """No records, no rows."""
    assert rows([]) == []


def test_checks_of_a_variant_share_a_row() -> None:
    """Figures of all checks meet in one row."""
    row = only(
        [
            record("export", export_s=4.1, cached=True, nodes=152, mb=13.5),
            record("parity", examples=108, max_abs=1e-6, atol=1e-4, rtol=1e-3),
            record("latency", p50_ms=9.0, p95_ms=12.0, budget={"p95_ms": 15}),
            record("size", mb=13.6, nodes=152),
        ]
    )

    assert row == Row(
        nodeid="suites/test_zoo.py::test_net",
        test="test_net",
        variant="dynamo-opset20",
        verdict="pass",
        notes=(),
        export_s=4.1,
        cached=True,
        nodes=152,
        mb=13.6,
        examples=108,
        max_abs=1e-6,
        atol=1e-4,
        rtol=1e-3,
        p50_ms=9.0,
        latency=Latency("p95", 12.0, 15.0),
    )


def test_order_of_first_appearance() -> None:
    """Rows keep the order in which their first records came, however the rest arrives."""
    found = rows(
        [
            record("export", "test_b[dynamo-opset20-{}]"),
            record("export", "test_a[dynamo-opset20-{}]"),
            record("parity", "test_b[dynamo-opset20-{}]"),
        ]
    )

    assert [row.test for row in found] == ["test_b", "test_a"]


@pytest.mark.parametrize(
    ("verdicts", "expected"),
    [
        (["pass", "skip"], "pass"),
        (["skip"], "skip"),
        (["skip", "inconclusive", "pass"], "inconclusive"),
        (["inconclusive", "fail"], "fail"),
        (["fail", "error", "pass"], "error"),
        (["fail", "exploded"], "exploded"),
        ([], "pass"),
    ],
)
def test_worst(verdicts: list[str], expected: str) -> None:
    """Worst first: error > fail > inconclusive > skip > pass, and an unknown verdict is as bad as an error."""
    assert worst(verdicts) == expected


def test_variants_are_rows() -> None:
    """Each exporter, opset and options label has a row of its own."""
    torchscript = {"exporter": "torchscript", "opset": 17}
    found = rows(
        [
            record("export"),
            record("export", "test_net[torchscript-opset17-{}]", variant=torchscript),
            record("export", "test_net[dynamo-opset20-fp16-{}]"),
            record("parity", "test_net[dynamo-opset20-fp16-{}]"),
        ]
    )

    assert [row.variant for row in found] == ["dynamo-opset20", "torchscript-opset17", "dynamo-opset20-fp16"]
    assert {row.test for row in found} == {"test_net"}


@pytest.mark.parametrize("where", ["test_net[resnet-dynamo-opset20-{}]", "test_net[dynamo-opset20-{}-resnet]"])
def test_users_parameters_are_part_of_the_test(where: str) -> None:
    """The user's own parameters tell tests apart, before or after ours."""
    found = rows([record("export", where), record("parity", where), record("export", where.replace("resnet", "vit"))])

    assert [row.test for row in found] == ["test_net[resnet]", "test_net[vit]"]
    assert {row.variant for row in found} == {"dynamo-opset20"}


def test_parameters_that_look_like_a_variant() -> None:
    """A user's parameter may hold hyphens and the exporter's name."""
    row = only([record("export", "test_net[a-dynamo-b-dynamo-opset20-{}]")])

    assert (row.test, row.variant) == ("test_net[a-dynamo-b]", "dynamo-opset20")


def test_exporter_found_out_late() -> None:
    """An item collected as ``auto`` shows the exporter that was used."""
    assert only([record("export", "test_net[auto-{}]")]).variant == "dynamo-opset20"


def test_plain_test_without_variant() -> None:
    """A record of a plain test has the whole node id as its test."""
    row = only([{"nodeid": "tests/test_a.py::test_plain[x-y]", "check": "parity", "verdict": "pass"}])

    assert (row.test, row.variant) == ("test_plain[x-y]", "auto")


@pytest.mark.parametrize("own", ["", "-resnet"])
def test_nearest_to_its_budget_is_shown(own: str) -> None:
    """Of several latency items the one that uses most of its budget is shown."""
    row = only(
        [
            record("export", f"test_net[dynamo-opset20-{{}}{own}]"),
            record(
                "latency",
                f"test_net[dynamo-opset20-{{}}-batch1{own}]",
                p50_ms=1.0,
                p95_ms=2.0,
                budget={"p95_ms": 10},
                at={"batch": 1},
            ),
            record(
                "latency",
                f"test_net[dynamo-opset20-{{}}-batch8{own}]",
                p50_ms=7.0,
                p95_ms=9.0,
                p99_ms=10.0,
                budget={"p95_ms": 20, "p99_ms": 11},
                at={"batch": 8},
            ),
        ]
    )

    assert row.latency == Latency("p99", 10.0, 11.0)
    assert row.p50_ms == 7.0


def test_latency_items_alone_share_a_row() -> None:
    """With nothing but latency items selected, their sizes are still no part of the test's name."""
    records = [record("latency", f"test_net[dynamo-opset20-{{}}-batch{n}]", p95_ms=n, at={"batch": n}) for n in (1, 8)]

    assert only(records).test == "test_net"


def test_zero_budget_is_the_worst() -> None:
    """A budget of zero cannot be met and breaks nothing."""
    row = only([record("latency", p50_ms=1.0, p95_ms=2.0, budget={"p50_ms": 0, "p95_ms": 3})])

    assert row.latency == Latency("p50", 1.0, 0.0)


def test_no_budget() -> None:
    """Without a budget p95 is shown, or another percentile where that is all there is."""
    assert only([record("latency", p95_ms=2.0, p99_ms=3.0)]).latency == Latency("p95", 2.0, None)
    assert only([record("latency", p99_ms=3.0)]).latency == Latency("p99", 3.0, None)


def test_nan_error_outranks_numbers() -> None:
    """Of two parity items the one whose error is not even a number is shown."""
    row = only([record("parity", max_abs=0.5, atol=1e-4), record("parity", max_abs="nan", atol=1e-4)])

    assert row.max_abs is not None
    assert row.max_abs != row.max_abs


def test_notes_name_their_checks() -> None:
    """What failed is noted, worst first; checks that stumbled over the same thing share a note."""
    row = only(
        [
            record("latency", verdict="inconclusive", summary="too  noisy"),
            record("export", verdict="error", summary="no file\nweights.bin"),
            record("parity", verdict="error", summary="no file weights.bin"),
            record("size", verdict="skip", summary="not today"),
        ]
    )

    assert row.notes == (
        Note("error", ("export", "parity"), "no file weights.bin"),
        Note("inconclusive", ("latency",), "too noisy"),
    )


def test_same_name_in_two_places() -> None:
    """Tests of one name are told apart by as much of the node id as that takes."""
    nodeids = ["a/test_x.py::test_net", "a/test_x.py::TestB::test_net", "b/test_x.py::TestB::test_net", "c.py::test_o"]
    found = rows([{"nodeid": nodeid, "check": "export", "verdict": "pass"} for nodeid in nodeids])

    assert [row.test for row in found] == [
        "a/test_x.py::test_net",
        "a/test_x.py::TestB::test_net",
        "b/test_x.py::TestB::test_net",
        "test_o",
    ]


@pytest.mark.parametrize(
    "strange",
    [
        {},
        {"figures": None},
        {"nodeid": None, "figures": []},
        {"nodeid": "a.py::t[", "check": "("},
        {"nodeid": "a.py::t[x-a::b]", "check": "export", "variant": "dynamo"},
        {"nodeid": "a.py::t", "check": "latency", "figures": {"budget": 15, "at": 3, "p95_ms": "?"}},
        {"nodeid": "a.py::t", "check": "latency", "figures": {"budget": {3: None, "p95_ms": "fast"}, "p95_ms": 1}},
        {"nodeid": "a.py::t", "check": "parity", "figures": {"max_abs": [1], "atol": {}, "examples": "many"}},
        {"nodeid": "a.py::t", "check": "hologram", "verdict": "shimmering", "figures": {"depth": 3}},
    ],
)
def test_later_versions_break_nothing(strange: dict[str, Any]) -> None:
    """Records with missing, unknown or mistyped parts still make a row."""
    assert len(rows([strange])) == 1
