"""The workflow of docs/ci does what it says: its own commands, run in a user's project."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

yaml = pytest.importorskip("yaml")
pytest.importorskip("xdist")

ROOT = Path(__file__).parent.parent.parent
WORKFLOW = yaml.safe_load((ROOT / "docs" / "ci" / "github-actions.yml").read_text(encoding="utf-8"))
STEPS = WORKFLOW["jobs"]["models"]["steps"]

TEST = """
from pytest_onnxprep import latency_budget, onnx_export, parity, size_budget

@onnx_export("net.onnx")
@parity(max_examples=3)
@size_budget(mb=50)
@latency_budget(p50_ms=5000, max_regression="50%")
def test_net(onnx_model): pass
"""


def net(path: Path, layers: int) -> None:
    """A chain of matrix products."""
    nodes = [
        helper.make_node("MatMul", [f"h{i}" if i else "x", "w"], ["y" if i == layers - 1 else f"h{i + 1}"])
        for i in range(layers)
    ]
    weight = helper.make_tensor("w", TensorProto.FLOAT, [96, 96], np.eye(96, dtype=np.float32).ravel())
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", 96]) for name in "xy"]
    graph = helper.make_graph(nodes, "net", values[:1], values[1:], [weight])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)


class Project:
    """A user's repository, on which the workflow is run as GitHub would."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.summary = path / "summary.md"
        (path / "test_net.py").write_text(TEST)
        (path / "pytest.ini").write_text("[pytest]\naddopts = -p no:cacheprovider\n")

    def run(self, event: str) -> dict[str, int]:
        """Run the shell steps of an event; returns the exit status of each by its name."""
        self.summary.unlink(missing_ok=True)
        dropped = ("PYTEST_ADDOPTS", "PYTEST_XDIST_WORKER", "PYTEST_CURRENT_TEST", "COLUMNS")
        env = {name: value for name, value in os.environ.items() if name not in dropped}
        env |= {
            "GITHUB_STEP_SUMMARY": str(self.summary),
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT),
        }
        done = {}
        for step in STEPS:
            wanted = "event_name" not in str(step.get("if")) or f"event_name == '{event}'" in step["if"]
            if "run" in step and wanted and not step["run"].startswith("pip "):
                shell = subprocess.run(["bash", "-e", "-c", step["run"]], cwd=self.path, env=env, capture_output=True)
                done[step["name"]] = shell.returncode
        return done


def test_the_workflow_gates_a_slower_pull_request(tmp_path):
    """A push saves baselines; a pull request with forty times the work fails in latency alone, and is told why."""
    project = Project(tmp_path)
    net(tmp_path / "net.onnx", 2)
    assert set(project.run("push").values()) == {0}
    assert len(list((tmp_path / ".onnxprep" / "baselines").glob("*.json"))) == 1

    net(tmp_path / "net.onnx", 80)
    found = project.run("pull_request")
    assert found == {
        "Everything but latency, in parallel": 0,
        "Latency alone, compared with the main branch": 1,
        "Summary": 0,
    }
    summary = project.summary.read_text()
    assert summary.count("### ONNX models") == 2
    assert "slower than the baseline of" in summary
    assert (tmp_path / "build" / "benchmark.json").exists()


def test_baselines_go_from_the_main_branch_to_pull_requests():
    """What is saved, kept and restored is one folder; only pushes keep it, under a key that pull requests look for."""
    kept = [step for step in STEPS if "baselines" in str(step.get("with", {}).get("path"))]
    restore, save = sorted(kept, key=lambda step: step["uses"])
    commands = " ".join(step["run"] for step in STEPS if "run" in step)

    assert restore["with"]["path"] == save["with"]["path"] == ".onnxprep/baselines"
    assert "--onnxprep-baseline .onnxprep/baselines" in commands
    assert "--onnxprep-save-baseline .onnxprep/baselines" in commands
    assert "github.event_name == 'push'" in save["if"]
    assert "if" not in restore
    assert save["with"]["key"].startswith(restore["with"]["restore-keys"])
    # "on" is a boolean in YAML 1.1
    assert set(WORKFLOW.get("on") or WORKFLOW[True]) == {"push", "pull_request"}
