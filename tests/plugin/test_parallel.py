"""Under xdist: one export per variant, no latency, the same verdicts, the same reports."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pytest

SOURCE = """
import torch
from torch import nn
from pytest_onnxprep import latency_budget, onnx_export, parity, size_budget

X = {"x": "float32[batch, 4]"}

def build():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 3), nn.ReLU()).eval()

@onnx_export(build, inputs=X, exporter="torchscript", opset=[15, 17])
@parity(max_examples=3)
@latency_budget(p95_ms=500)
@size_budget(mb=1)
def test_good(onnx_model):
    assert onnx_model.path.is_file()

@onnx_export(build, inputs=X, exporter="torchscript", opset=17)
@size_budget(nodes=1)
def test_large(onnx_model): pass

@onnx_export(lambda: 42, inputs=X)
@parity()
def test_broken(onnx_model): pass

@onnx_export(build, inputs=X, opset=99)
def test_bad_mark(onnx_model): pass

def test_plain(): pass
"""


@dataclass
class Parallel:
    """One run with two workers."""

    folder: Path
    text: str
    code: int

    @property
    def results(self) -> list[dict[str, object]]:
        """The records of the report."""
        return json.loads((self.folder / "out.json").read_text())["results"]

    def verdicts(self, test: str) -> Counter[str]:
        """Verdict -> number, of one test."""
        return Counter(record["verdict"] for record in self.results if record["test"] == test)


def run(folder: Path, *args: str) -> Parallel:
    """Run the project in two workers."""
    (folder / "test_it.py").write_text(SOURCE)
    line = [sys.executable, "-m", "pytest", "-n2", "-rA", "-p", "no:cacheprovider", "--onnxprep-json=out.json", *args]
    ran = subprocess.run(line, cwd=folder, capture_output=True, text=True, check=False)
    return Parallel(folder, ran.stdout + ran.stderr, ran.returncode)


@pytest.fixture(scope="module")
def parallel(tmp_path_factory) -> Parallel:
    """A run from a cold cache."""
    return run(tmp_path_factory.mktemp("parallel"), "--junitxml=out.xml")


def test_each_variant_is_exported_once(parallel):
    """Two workers and ten checks make one export per variant; two tests of one variant share it."""
    assert len(list((parallel.folder / ".onnxprep").rglob("model.onnx"))) == 2


def test_latency_is_not_measured(parallel):
    """Latency items are skipped, and say how to run them."""
    found = [record for record in parallel.results if record["check"] == "latency"]

    assert [record["verdict"] for record in found] == ["skip", "skip"]
    assert all("not measured under xdist" in str(record["summary"]) for record in found)
    assert all("-n0" in str(record["summary"]) for record in found)


def test_verdicts_survive_the_wire(parallel):
    """Passes, findings and errors are what they are without xdist."""
    assert parallel.verdicts("test_good") == {"pass": 6, "skip": 2}
    assert parallel.verdicts("test_large") == {"pass": 1, "fail": 1}
    assert parallel.verdicts("test_broken") == {"error": 2}
    assert parallel.code == pytest.ExitCode.TESTS_FAILED


def test_figures_survive_the_wire(parallel):
    """Records hold their figures on the controller."""
    (found,) = [r for r in parallel.results if r["test"] == "test_large" and r["check"] == "size"]

    assert found["figures"]["budget"] == {"nodes": 1}
    assert found["figures"]["nodes"] > 1


def test_a_bad_mark_costs_its_own_test_only(parallel):
    """It is a collection error with its line; everything else ran."""
    line = SOURCE.splitlines().index("@onnx_export(build, inputs=X, opset=99)") + 1

    assert f"test_it.py:{line}: @onnx_export: " in parallel.text
    assert "PASSED test_it.py::test_plain" in parallel.text


def test_the_controller_prints_the_table(parallel):
    """The table and the findings are at the end of the output, once."""
    assert parallel.text.count("= onnxprep =") == 1
    assert "fail: size of test_large" in parallel.text
    assert "error: export, parity of test_broken" in parallel.text


def test_junit_xml_holds_the_verdicts(parallel):
    """The workers' properties reach the XML."""
    text = (parallel.folder / "out.xml").read_text()

    assert text.count('name="onnxprep_verdict" value="pass"') == 7
    assert text.count('name="onnxprep_verdict" value="fail"') == 1


def test_without_a_cache_the_run_still_shares_its_exports(tmp_path):
    """--onnxprep-no-cache keeps nothing in the project, and the workers agree all the same."""
    ran = run(tmp_path, "--onnxprep-no-cache", "-k", "good and not latency", "--basetemp=base")
    exports = [record["figures"] for record in ran.results if record["check"] == "export"]

    assert ran.verdicts("test_good") == {"pass": 6}
    assert len({figures["path"] for figures in exports}) == 2
    assert len(list((tmp_path / "base").rglob("model.onnx"))) == 2
    assert not (tmp_path / ".onnxprep").exists()
