"""Stories about device profiles: the option, the mark, ``onnx_export(target=)``, and what is reported."""

from __future__ import annotations

import pytest

SETUP = """
import onnx
from onnx import TensorProto, helper
from pytest_onnxprep import fits, latency_budget, onnx_export
values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", 4]) for name in "xy"]
graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"], "/act/Relu")], "g", values[:1], values[1:])
onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), "relu.onnx")
"""
BOARD = """
title = "a board"
[hardware]
cores = 1
memory = "2 GB"
[runtime]
opset_max = {opset}
[limits]
deadline = "1 min"
"""
PLAIN = SETUP + '@onnx_export("relu.onnx")\ndef test_relu(onnx_model): pass\n'


@pytest.fixture
def boards(story):
    """Two profiles: the model fits the first and is too new for the second."""
    (story.path / "board.toml").write_text(BOARD.format(opset=17))
    (story.path / "old.toml").write_text(BOARD.format(opset=13))
    return story


def test_the_option_holds_every_model_to_a_profile(boards) -> None:
    """One item per variant, an assessment in the terminal, in Markdown and in the JSON report."""
    outcome = boards(PLAIN, "--onnxprep-target=board.toml", "--onnxprep-markdown=out.md")

    record = outcome.one("fits")
    assert list(outcome.records) == ["test_relu[none-export]", "test_relu[none-fits]"]
    assert (record["verdict"], record["figures"]["target"], record["figures"]["fits"]) == ("pass", "board", True)
    assert record["figures"]["not_judged"] == ["latency"]
    assert "target board: a board" in outcome.text
    assert "fits, as far as judged" in outcome.text
    assert "memory: simulated on this machine" in outcome.text
    assert "not judged: latency: no measured speed_factor" in outcome.text
    assert "#### Target board: a board" in (boards.path / "out.md").read_text()


def test_several_targets_make_an_item_each(boards) -> None:
    """A model may fit one device and not the other; each is a verdict of its own in one row of the table."""
    outcome = boards(
        SETUP
        + """
@onnx_export("relu.onnx", target=["board.toml", "old.toml"])
def test_relu(onnx_model): pass
"""
    )

    assert outcome.verdicts == {
        "test_relu[none-export]": "pass",
        "test_relu[none-fits-board]": "pass",
        "test_relu[none-fits-old]": "fail",
    }
    assert "fail: fits of test_relu none: does not fit old: opset: opset 17 is newer than opset_max=13" in outcome.text
    assert "does not fit a board (old.toml)" in outcome.text


def test_the_nearest_target_wins(boards) -> None:
    """The mark before onnx_export's argument before the option; -m fits selects what any of them made."""
    boards.write(
        SETUP
        + """
@onnx_export("relu.onnx", target="old.toml")
@fits("board.toml", at={"batch": 2}, speed_factor=2)
def test_mark(onnx_model): pass

@onnx_export("relu.onnx")
def test_option(onnx_model): pass
"""
    )

    outcome = boards.run("-m", "fits", "--onnxprep-target=board.toml")

    figures = {name: record["figures"] for name, record in outcome.records.items()}
    assert set(figures) == {"test_mark[none-fits]", "test_option[none-fits]"}
    assert (figures["test_mark[none-fits]"]["target"], figures["test_mark[none-fits]"]["at"]) == ("board", {"batch": 2})
    assert figures["test_mark[none-fits]"]["not_judged"] == []
    assert outcome.counts() == {"pass": 2}


def test_sizes_are_those_of_the_latency_budget(boards) -> None:
    """Where the mark names none."""
    outcome = boards(
        SETUP
        + """
@onnx_export("relu.onnx", target="board.toml")
@latency_budget(p95_ms=60_000, at={"batch": 3}, max_time_s=0.1)
def test_relu(onnx_model): pass
""",
        "-m",
        "fits",
    )

    assert outcome.one("fits")["figures"]["at"] == {"batch": 3}


def test_nothing_is_timed_under_xdist(boards) -> None:
    """A model that fits but for times nobody took is skipped there, never passed."""
    fine = boards(PLAIN, "--onnxprep-target=board.toml", "-n1", "-m", "fits", subprocess=True)

    assert fine.verdict("fits") == "skip"
    assert "not measured under xdist: run fits items with -n0 (pytest -n0 -m fits)" in fine.one("fits")["summary"]


@pytest.mark.parametrize(
    ("decorators", "said"),
    [
        (
            '@onnx_export("relu.onnx", target="raspberry-pi")',
            "@onnx_export: unknown target 'raspberry-pi'; did you mean",
        ),
        ('@onnx_export("relu.onnx", target="no.toml")', "target file 'no.toml' does not exist (looked for"),
        ('@onnx_export("relu.onnx", target=3)', "target must be a device profile, not 3"),
        (
            '@onnx_export("relu.onnx", target="wrong.toml")',
            "wrong.toml:2: [hardware] memory = '4 Gb' has the unknown unit",
        ),
        (
            '@onnx_export("relu.onnx")\n@fits()',
            "@fits: needs a target: fits('raspberry-pi-4'), onnx_export(target=...)",
        ),
        ('@onnx_export("relu.onnx")\n@fits("board.toml", speed_factor=0)', "@fits: speed_factor must be a positive"),
        (
            '@onnx_export("relu.onnx", inputs={"x": "float32[batch, 4]"})\n@fits("board.toml", at={"bach": 1})',
            "@fits: at= names an unknown dim 'bach'; did you mean 'batch'?",
        ),
    ],
)
def test_a_wrong_target_is_an_error_of_its_own_test(boards, decorators: str, said: str) -> None:
    """At collection, with file and line of the mark, and of the profile where that is wrong."""
    (boards.path / "wrong.toml").write_text('[hardware]\nmemory = "4 Gb"\n')

    outcome = boards(f"{SETUP}\n{decorators}\ndef test_relu(onnx_model): pass\n")

    assert said in outcome.text
    assert not outcome.records


def test_a_wrong_option_is_a_usage_error(boards) -> None:
    """Before anything is collected."""
    outcome = boards(PLAIN, "--onnxprep-target=raspberry-pi-9")

    assert outcome.result.ret == pytest.ExitCode.USAGE_ERROR
    assert "--onnxprep-target=raspberry-pi-9: unknown target 'raspberry-pi-9'; did you mean" in outcome.text
