"""Stories: a user's test file, run by pytest in this process, and what its reports say."""

from __future__ import annotations

import json
import textwrap
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

#: What every story's test file may import: small models, built from a fixed seed.
MODELS = '''
import torch
from torch import nn

class Net(nn.Module):
    """Linear, relu, linear, softmax."""
    def __init__(self):
        super().__init__()
        self.first = nn.Linear(4, 5)
        self.second = nn.Linear(5, 3)
    def forward(self, x):
        return torch.softmax(self.second(torch.relu(self.first(x))), -1)

class Branches(nn.Module):
    """Python decides on the size: a tracer keeps the branch of its example."""
    def forward(self, x):
        return x * 2 if x.shape[0] > 4 else x + 1

def build():
    torch.manual_seed(0)
    return Net().eval()

def build_branches():
    return Branches()
'''

HEADER = """
import os, pathlib
import numpy as np
import pytest
import torch
from torch import nn
import pytest_onnxprep
from pytest_onnxprep import *
from pytest_onnxprep import latency_budget, onnx_export, parity, size_budget
from models import build, build_branches

X = {"x": "float32[batch, 4]"}
"""

#: Quick, and without the noise of other plugins; torchscript exports in 0.2 s, dynamo in 3 s.
FLAGS = ["-p", "no:cacheprovider", "-p", "no:cov", "--onnxprep-examples=12", "--strict-markers", "-rA"]


@dataclass
class Outcome:
    """One run of a story."""

    result: Any
    records: dict[str, dict[str, Any]] = field(default_factory=dict)
    report: dict[str, Any] = field(default_factory=dict)

    @property
    def text(self) -> str:
        """Everything pytest printed."""
        return str(self.result.stdout.str()) + str(self.result.stderr.str())

    @property
    def verdicts(self) -> dict[str, str]:
        """Item name without the file -> verdict."""
        return {name: record["verdict"] for name, record in self.records.items()}

    def one(self, check: str) -> dict[str, Any]:
        """The only record of a check."""
        (found,) = [record for record in self.records.values() if record["check"] == check]
        return found

    def verdict(self, check: str) -> str:
        """The verdict of the only item of a check."""
        return str(self.one(check)["verdict"])

    def counts(self) -> Counter[str]:
        """Verdict -> number of checks."""
        return Counter(self.verdicts.values())

    def names(self) -> list[str]:
        """The collected items of a ``--collect-only -q`` run."""
        return [line.rpartition("::")[2] for line in self.result.outlines if "::" in line and " " not in line]


class Story:
    """Writes a user's files and runs pytest on them."""

    def __init__(self, pytester: pytest.Pytester, cache: Path) -> None:
        self.pytester = pytester
        self.cache = cache
        self.path = pytester.path
        pytester.makepyfile(models=MODELS)

    def write(self, source: str, name: str = "test_story") -> Story:
        """Write a test file below the common imports."""
        self.pytester.makepyfile(**{name: HEADER + textwrap.dedent(source)})
        return self

    def run(self, *args: str, cache: bool = True, subprocess: bool = False) -> Outcome:
        """Run pytest; records come from ``--onnxprep-json``."""
        report = self.path / "onnxprep.json"
        report.unlink(missing_ok=True)
        shared = [f"--onnxprep-cache={self.cache}"] if cache else []
        line = [*FLAGS, f"--onnxprep-json={report}", *shared, *args]
        run = self.pytester.runpytest_subprocess if subprocess else self.pytester.runpytest_inprocess
        outcome = Outcome(run(*line))
        if report.exists():
            outcome.report = json.loads(report.read_text())
            outcome.records = {r["nodeid"].rpartition("::")[2]: r for r in outcome.report["results"]}
        assert "INTERNALERROR" not in outcome.text
        return outcome

    def __call__(self, source: str, *args: str, **options: Any) -> Outcome:
        """Write one test file and run it."""
        return self.write(source).run(*args, **options)


@pytest.fixture(scope="session")
def shared_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Exports are reused between stories that test something else."""
    return tmp_path_factory.mktemp("shared-cache")


@pytest.fixture
def story(pytester: pytest.Pytester, shared_cache: Path) -> Story:
    """A user's project."""
    return Story(pytester, shared_cache)
