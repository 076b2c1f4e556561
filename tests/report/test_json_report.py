"""The JSON report."""

from __future__ import annotations

import json
import math
import os
import stat
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pytest_onnxprep.errors import OnnxPrepError
from pytest_onnxprep.report.environment import environment
from pytest_onnxprep.report.json_report import write_json

RECORD: dict[str, Any] = {
    "nodeid": "a.py::test_net[dynamo-opset20-parity]",
    "test": "test_net",
    "check": "parity",
    "variant": {"exporter": "dynamo", "opset": 20},
    "verdict": "fail",
    "summary": "y: größer",
    "figures": {"max_abs": 0.4, "minimal": {"dims": {"batch": 1}, "seed": 0}},
    "duration_s": 1.9,
}


def read(path: Path) -> Any:
    """Read strictly: JSON has no NaN."""

    def refuse(word: str) -> None:
        raise AssertionError(f"{word} is not JSON")

    return json.loads(path.read_text(encoding="utf-8"), parse_constant=refuse)


def test_schema(tmp_path: Path) -> None:
    """The report holds schema, environment and the records as they are, and nothing else."""
    env = environment()
    write_json(tmp_path / "out.json", [RECORD], env)

    assert read(tmp_path / "out.json") == {"schema": "onnxprep-report/1", "environment": env, "results": [RECORD]}


def test_no_records(tmp_path: Path) -> None:
    """A run without records has an empty report, not none."""
    write_json(tmp_path / "out.json", [], {})

    assert read(tmp_path / "out.json")["results"] == []


def test_non_finite_numbers(tmp_path: Path) -> None:
    """Figures keep infinities as strings; elsewhere they are null."""
    figures = {"max_abs": math.inf, "low": [-math.inf, np.float32("nan")], "p95_ms": np.float64(2.5)}
    write_json(tmp_path / "out.json", [{**RECORD, "figures": figures, "duration_s": math.nan}], {"load": math.inf})
    report = read(tmp_path / "out.json")

    assert report["results"][0]["figures"] == {"max_abs": "inf", "low": ["-inf", "nan"], "p95_ms": 2.5}
    assert report["results"][0]["duration_s"] is None
    assert report["environment"]["load"] is None


def test_folders_are_made(tmp_path: Path) -> None:
    """Missing parent folders are no error."""
    write_json(tmp_path / "a/b/out.json", [RECORD], {})

    assert len(read(tmp_path / "a/b/out.json")["results"]) == 1


def test_nothing_is_left_beside_it(tmp_path: Path) -> None:
    """The report replaces an older one and leaves no temporary file."""
    for _ in range(2):
        write_json(str(tmp_path / "out.json"), [RECORD], {})

    assert os.listdir(tmp_path) == ["out.json"]


def test_permissions_follow_the_umask(tmp_path: Path) -> None:
    """Other users may read the report as they may any new file."""
    (tmp_path / "plain").write_text("")
    write_json(tmp_path / "out.json", [], {})

    assert stat.S_IMODE((tmp_path / "out.json").stat().st_mode) == stat.S_IMODE((tmp_path / "plain").stat().st_mode)


def test_failed_write_keeps_the_old_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the disk is full the old report stays, whole, and no temporary file does."""
    path = tmp_path / "out.json"
    path.write_text("old")

    def full(fd: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OnnxPrepError, match=r"cannot write report .*out\.json: No space left on device"):
        write_json(path, [RECORD], {})

    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["out.json"]


def test_unwritable(tmp_path: Path) -> None:
    """A path that cannot be is named in the error."""
    (tmp_path / "file").write_text("")

    with pytest.raises(OnnxPrepError, match=r"cannot write report .*file/out\.json: "):
        write_json(tmp_path / "file/out.json", [RECORD], {})


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    """A path that is a folder is refused as such, and the folder stays."""
    with pytest.raises(OnnxPrepError, match="Is a directory"):
        write_json(tmp_path, [RECORD], {})

    assert os.listdir(tmp_path) == []


def test_links_are_kept(tmp_path: Path) -> None:
    """A link stays a link; what it points to is replaced."""
    (tmp_path / "real.json").write_text("old")
    (tmp_path / "link.json").symlink_to(tmp_path / "real.json")
    write_json(tmp_path / "link.json", [RECORD], {})

    assert (tmp_path / "link.json").is_symlink()
    assert read(tmp_path / "real.json")["results"] == [RECORD]


def test_devices_are_written_to() -> None:
    """``/dev/null`` is not replaced by a file."""
    write_json("/dev/null", [RECORD], {})

    assert not Path("/dev/null").is_file()
