"""Stories about ``--onnxprep-profile``."""

from __future__ import annotations

import json
from pathlib import Path

TESTS = """
@onnx_export(build, inputs=X, exporter="torchscript", opset=17)
@latency_budget(p95_ms=60_000, at={"batch": 3}, max_time_s=0.1)
def test_net(onnx_model): pass
"""


def test_each_variant_gets_a_profile(story) -> None:
    """One more item, at the sizes of the latency budget: figures in the JSON report, a table, a trace file."""
    outcome = story(TESTS, "--onnxprep-profile", "--onnxprep-markdown=out.md")

    figures = outcome.one("profile")["figures"]
    assert outcome.verdict("profile") == "pass"
    assert (figures["at"], figures["threads"]) == ({"batch": 3}, 1)
    assert abs(sum(row["share"] for row in figures["operators"]) - 1) < 0.01
    assert {node["layer"] for node in figures["nodes"]} == {"first", "second", None}
    assert "profile of test_net torchscript-opset17 at batch=3" in outcome.text
    assert figures["trace"] in outcome.text
    assert "<summary>profile of test_net torchscript-opset17" in (story.path / "out.md").read_text()


def test_the_trace_has_the_measured_runs_and_their_layers(story) -> None:
    """Its events load in a trace viewer and carry the layer; warm-up runs are not among them."""
    figures = story(TESTS, "--onnxprep-profile").one("profile")["figures"]

    path = Path(figures["trace"])
    events = json.loads(path.read_text())
    assert path.parent == story.path / ".onnxprep" / "profile"
    assert sum(event["name"] == "model_run" for event in events) == figures["trace_runs"] <= figures["runs"]
    assert {"first", "second"} <= {event.get("args", {}).get("layer") for event in events}


def test_profile_items_have_a_mark_of_their_own(story) -> None:
    """-m onnx_profile selects them, -m latency_budget does not, and without the option there are none."""
    story.write(TESTS)

    assert story.run("--onnxprep-profile", "-m", "onnx_profile", "--collect-only", "-q").names() == [
        "test_net[torchscript-opset17-profile]"
    ]
    assert not any("profile" in name for name in story.run("--collect-only", "-q").names())


def test_the_ini_key_does_the_same_at_the_sizes_of_the_export(story) -> None:
    """Without a latency budget the sizes are those the model is traced with."""
    story.pytester.makeini("[pytest]\nonnxprep_profile = true\n")
    outcome = story(
        """
        @onnx_export(build, inputs=X, dims={"batch": Dim(1, 9, example=5)}, exporter="torchscript", opset=17)
        def test_net(onnx_model): pass
        """
    )

    assert outcome.one("profile")["figures"]["at"] == {"batch": 5}


def test_nothing_is_profiled_under_xdist(story) -> None:
    """A profile of a machine that runs other tests is not a profile of the model."""
    outcome = story(TESTS, "--onnxprep-profile", "-n1", "-m", "onnx_profile", subprocess=True)

    assert outcome.verdict("profile") == "skip"
    assert "not measured under xdist: run profile items with -n0" in outcome.one("profile")["summary"]
