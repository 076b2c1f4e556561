"""The tables of targets and of profiles, from records."""

from __future__ import annotations

from typing import Any

from pytest_onnxprep.report.assessment import assessment_lines, assessment_markdown
from pytest_onnxprep.report.profile_table import profile_lines, profile_markdown


def fits_record(test: str, *, over: bool = False, target: str = "board") -> dict[str, Any]:
    """What the check ``fits`` leaves."""
    memory = {
        "what": "memory",
        "verdict": "does not fit" if over else "fits",
        "value": 120.0 if over else 62.0,
        "limit": 100,
        "unit": "MB",
        "why": "out of memory while loading the model" if over else "",
        "source": "simulated on this machine",
        "how": "a process of its own",
    }
    latency = {
        "what": "latency",
        "verdict": "not judged",
        "value": 1.25,
        "limit": 33.0,
        "unit": "ms",
        "why": "no measured speed_factor",
        "source": "measured on this machine",
        "how": "1 thread",
    }
    return {
        "nodeid": f"test_a.py::{test}[dynamo-opset20-fits]",
        "test": test,
        "check": "fits",
        "variant": {"exporter": "dynamo", "opset": 20},
        "verdict": "fail" if over else "pass",
        "summary": "",
        "figures": {
            "target": target,
            "title": "a board",
            "profile": "board.toml",
            "fits": not over,
            "not_judged": ["latency"],
            "lines": [memory, latency],
            "recommended_threads": None if over else 2,
            "machine": "2 cores pinned, the device has 4",
            "notes": ["not simulated: the device slows down from 80 C on"],
        },
    }


def profile_record(nodes: int) -> dict[str, Any]:
    """What the check ``profile`` leaves."""
    listed = [
        {
            "node": f"node_{i}",
            "operator": "Conv" if i else "Gelu",
            "ms": 1.0,
            "share": 1 / nodes,
            "calls": 3 if i == 1 else 1,
            "layer": "" if i == 2 else f"blocks.{i}",
            "line": "net.py:7  return x  + 1" if i == 2 else "",
            "stands_for": ["/act/Div", "/act/Erf"] if i == 0 else [f"/conv{i}/Conv"] if i < 4 else [],
            "known_by": "layout" if i == 3 else "name",
            "inputs": [],
        }
        for i in range(nodes)
    ]
    return {
        "nodeid": "test_a.py::test_net[dynamo-opset20-profile]",
        "test": "test_net",
        "check": "profile",
        "variant": {"exporter": "dynamo", "opset": 20},
        "verdict": "pass",
        "summary": "",
        "figures": {
            "at": {"batch": 2},
            "threads": 1,
            "runs": 50,
            "warm_up_runs": 10,
            "run_ms": nodes * 1.1,
            "nodes_ms": float(nodes),
            "operators": [{"name": "Conv", "ms": nodes - 1.0, "share": 1 - 1 / nodes, "nodes": nodes - 1}],
            "layers": [
                {"name": "blocks.0", "ms": 1.0, "share": 0.75, "nodes": 1},
                {"name": None, "ms": 1.0, "share": 0.25, "nodes": 1},
            ],
            "nodes": listed,
            "trace": "/somewhere/trace.json",
        },
    }


def shown(lines: list[tuple[str, str]]) -> str:
    """The text of some lines."""
    return "\n".join(text for text, _ in lines)


def test_each_target_has_a_table_with_a_row_per_model() -> None:
    """Figures against their limits, a sign where they fail (!) or are not judged (?), threads that do best."""
    text = shown(assessment_lines([fits_record("test_a"), fits_record("test_b", over=True)], 200))
    rows = [line.split() for line in text.splitlines()]

    assert text.splitlines()[1] == "target board: a board"
    assert ["test_a", "dynamo", "20", "fits,", "as", "far", "as", "judged", "62/100", "1.2/33?", "2"] in rows
    assert ["test_b", "dynamo", "20", "does", "not", "fit", "120/100!", "1.2/33?", "-"] in rows


def test_reasons_name_the_models_they_are_true_of() -> None:
    """A reason all models share is told once; where the figures come from stands below."""
    lines = assessment_lines([fits_record("test_a"), fits_record("test_b", over=True)], 300)
    text = shown(lines)

    assert "does not fit: memory: out of memory while loading the model [test_b dynamo 20]" in text
    assert text.count("not judged: latency: no measured speed_factor") == 1
    assert "memory: simulated on this machine; latency: measured on this machine" in text
    assert "this machine: 2 cores pinned, the device has 4" in text
    assert [colour for line, colour in lines if line.lstrip().startswith("test_b")] == ["red"]


def test_targets_are_kept_apart() -> None:
    """Each has its own table, in the terminal and in Markdown."""
    records = [fits_record("test_a"), fits_record("test_a", target="phone")]

    assert shown(assessment_lines(records, 120)).count("target ") == 2
    assert assessment_markdown(records).count("#### Target ") == 2
    assert "| test_a | dynamo 20 | fits, as far as judged | 62/100 | 1.2/33? | 2 |" in assessment_markdown(records)


def test_a_profile_names_operators_layers_nodes_and_the_trace() -> None:
    """Nodes fused into one, repeated in a loop, of a layout or of nobody are told apart; the rest is summed up."""
    text = shown(profile_lines([profile_record(12)], 120, top=5))

    assert "profile of test_net dynamo-opset20 at batch=2: 12 ms in nodes, 13.2 ms a run" in text
    assert "by operator: Conv 92% (11 nodes)" in text
    assert "by layer:    blocks.0 75%; in no layer 25%" in text
    for cell in (
        "/act/Div +1",
        "Conv x3",
        "net.py:7 return x + 1",
        "layout of /conv3/Conv",
        "node_4 (of ONNX Runtime)",
    ):
        assert cell in text
    assert "7 more nodes take 58%" in text
    assert "trace: /somewhere/trace.json" in text


def test_other_records_make_no_tables() -> None:
    """A run without targets and profiles prints neither; a profile that went wrong has no figures."""
    broken = {**profile_record(3), "figures": {}, "verdict": "error"}

    assert profile_lines([broken], 100) == []
    assert assessment_lines([broken], 100) == []
    assert profile_markdown([broken]) == assessment_markdown([broken]) == ""
