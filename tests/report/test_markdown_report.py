"""The Markdown report."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pytest_onnxprep.report.markdown import LONGEST, write_markdown

ENV = {
    "packages": {"pytest-onnxprep": "0.1.0", "onnxruntime": "1.32.0"},
    "cpu": {"model": "AMD EPYC", "cores_usable": 2},
}


#: What a file holds, as the figures of an export have it.
DESCRIPTION: dict[str, Any] = {
    "ir_version": 10,
    "producer": "pytorch 2.13.0",
    "opsets": {"ai.onnx": 20},
    "inputs": [{"name": "x", "dtype": "float32", "shape": ["batch", None]}],
    "outputs": [],
    "metadata": {"note": "``` and more"},
    "operators": {"Gemm": 2},
    "initializers": [{"dtype": "float32", "count": 4, "bytes": 5392}],
    "largest_initializers": [],
    "value_info": {"tensors": 2, "typed": 2, "ranked": 2, "sized": 1, "coverage": 1.0},
    "custom_domains": {},
    "functions": {},
    "external_files": {},
    "size_bytes": 6000,
}


def record(test: str = "test_net", verdict: str = "pass", summary: str = "", **figures: Any) -> dict[str, Any]:
    """One export record."""
    return {
        "nodeid": f"a.py::{test}[dynamo-opset20-export]",
        "check": "export",
        "variant": {"exporter": "dynamo", "opset": 20},
        "verdict": verdict,
        "summary": summary,
        "figures": figures,
    }


def written(tmp_path: Path, records: list[dict[str, Any]]) -> str:
    """The report as it lies on disk."""
    write_markdown(tmp_path / "out.md", records, ENV)
    return (tmp_path / "out.md").read_text(encoding="utf-8")


def test_whole_report(tmp_path: Path) -> None:
    """A count, a table, the failures and the environment."""
    text = written(
        tmp_path, [record(export_s=4.1, nodes=152), record("test_b", "fail", "it | broke", export_s=2.0, cached=True)]
    )

    assert text == (
        "### ONNX models: 1 fail, 1 pass\n\n"
        "| model/test | variant | export s | nodes | verdict |\n"
        "| --- | --- | ---: | ---: | --- |\n"
        "| `test_net` | `dynamo-opset20` | 4.1 | 152 | ✅ pass |\n"
        "| `test_b` | `dynamo-opset20` | 2\\* | - | ❌ fail |\n\n"
        "\\* export made earlier, taken from the cache\n\n"
        "- ❌ `test_b dynamo-opset20` export: it | broke\n\n"
        "<sub>onnxprep: 0.1.0, onnxruntime 1.32.0; AMD EPYC x2</sub>\n"
    )


def test_no_records(tmp_path: Path) -> None:
    """A run without records says so."""
    assert "No model was checked." in written(tmp_path, [])


def test_pipes_do_not_split_cells(tmp_path: Path) -> None:
    """A pipe or a backtick in a name stays within its cell."""
    text = written(tmp_path, [record("test_net[a|`b`]")])
    (line,) = (line for line in text.splitlines() if "a\\|" in line)

    assert line.replace("\\|", "").count("|") == 4
    assert "``test_net" in line


@pytest.mark.parametrize(
    ("summary", "shown"),
    [
        ("<b>@parity</b>", "&lt;b&gt;@\u200bparity&lt;/b&gt;"),
        ("see #12", "see #\u200b12"),
        ("a*b_c [x](y)", "a\\*b\\_c \\[x\\](y)"),
        ("two\nlines", "two lines"),
    ],
)
def test_summaries_are_plain_text(tmp_path: Path, summary: str, shown: str) -> None:
    """A summary is no markup, mentions nobody and links no issue."""
    assert f"export: {shown}\n" in written(tmp_path, [record(verdict="fail", summary=summary)])


def test_unknown_verdict(tmp_path: Path) -> None:
    """A verdict of a later version is shown as it is."""
    assert "❓ shimmering" in written(tmp_path, [record(verdict="shimmering")])


def test_long_report_leaves_out_what_passed(tmp_path: Path) -> None:
    """A report too long for a comment keeps its failures and counts what it left out."""
    text = written(tmp_path, [record(f"test_{i}_{'x' * 60}") for i in range(800)] + [record("test_bad", "fail")])

    assert len(text) <= LONGEST
    assert "800 rows that passed are left out." in text
    assert "test_bad" in text
    assert "1 fail, 800 pass" in text


def test_too_many_failures_are_cut(tmp_path: Path) -> None:
    """Even the failures alone may be too many: the report is cut at a line and says so."""
    text = written(tmp_path, [record(f"test_{i}", "fail", "x" * 200) for i in range(800)])

    assert len(text) <= LONGEST + 200
    assert "the JSON report has all of it" in text


def test_what_a_file_holds_is_folded_away(tmp_path: Path) -> None:
    """Below the table, in a block that opens on a click; a description of another version is left out."""
    text = written(tmp_path, [record(nodes=2, description=DESCRIPTION), record("test_b", description={"new": 1})])

    folded = text.partition("<details><summary>What the files hold</summary>")[2].partition("</details>")[0]
    assert "`test_net dynamo-opset20`" in folded
    assert "````text\nfile          IR version 10, 6 kB, written by pytorch 2.13.0\n" in folded
    assert "x: float32[batch, ?]" in folded
    assert "test_b" not in folded


def test_what_the_files_of_a_pipeline_hold_is_told_of_each(tmp_path: Path) -> None:
    """Several files that answer as one have a block each, by name."""
    text = written(tmp_path, [record(nodes=2, description={"body": DESCRIPTION, "head": DESCRIPTION})])

    assert "`test_net dynamo-opset20 body`" in text
    assert "`test_net dynamo-opset20 head`" in text
    assert text.count("IR version 10") == 2


def test_descriptions_give_way_where_a_comment_would_be_too_long(tmp_path: Path) -> None:
    """The rows stay, what the files hold goes."""
    long = {**DESCRIPTION, "metadata": {f"key{index}": "v" * 90 for index in range(12)}}

    text = written(tmp_path, [record(f"test_{index}", nodes=2, description=long) for index in range(100)])

    assert len(text) < LONGEST
    assert "<details>" not in text
    assert text.count("✅ pass") == 100
