"""What loading the plugin costs `pytest --version` and `--collect-only`, in CPU time of the whole process."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.table import Result

RUNS = 15

_HEAD = """
from pytest_onnxprep import latency_budget, onnx_export, parity, size_budget

def build():
    import torch
    return torch.nn.Linear(4, 4)
"""
_TEST = """
@onnx_export(build, inputs={{"x": "float32[batch, 4]"}}, dims={{"batch": (1, 8)}}, opset=20)
@parity(atol=1e-4)
@latency_budget(p95_ms=5, at={{"batch": 1}})
@size_budget(mb=1)
def test_model_{index}(onnx_model):
    assert onnx_model.opset == 20
"""


def measure() -> list[Result]:
    """Alternate runs with and without the plugin; the minimum of each is compared."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "test_marks.py").write_text(_HEAD + "".join(_TEST.format(index=index) for index in range(5)))
        # Hypothesis's own plugin imports Hypothesis at the end of every run; its second would drown ours.
        common = ["-p", "no:hypothesispytest", "-p", "no:jaxtyping", "-p", "no:cacheprovider"]
        return [
            _compare("pytest --version", ["--version"], folder),
            _compare("pytest --collect-only on five marked tests", ["--collect-only", "-q", *common], folder),
        ]


def _compare(title: str, arguments: list[str], folder: Path) -> Result:
    with_plugin, without = [], []
    for arguments_of in (arguments, [*arguments, "-p", "no:onnxprep"]):
        _cpu_ms(arguments_of, folder)  # writes the bytecode
    for _ in range(RUNS):
        with_plugin.append(_cpu_ms(arguments, folder))
        without.append(_cpu_ms([*arguments, "-p", "no:onnxprep"], folder))
    cost = min(with_plugin) - min(without)
    rows = [
        ["", "min ms", "median ms"],
        ["with pytest-onnxprep", f"{min(with_plugin):.1f}", f"{_median(with_plugin):.1f}"],
        ["without (`-p no:onnxprep`)", f"{min(without):.1f}", f"{_median(without):.1f}"],
    ]
    return Result(
        f"Start-up: {title}",
        "at most 10 ms more with the plugin than without",
        f"{cost:+.1f} ms",
        cost <= 10,
        rows,
        f"CPU time (user + system) of a fresh process, {RUNS} alternating runs each.",
    )


def _cpu_ms(arguments: list[str], folder: Path) -> float:
    # As on a user's machine: pip compiles what it installs, and Python what is imported from a checkout.
    environment = {**os.environ, "PYTHONPYCACHEPREFIX": str(folder / "bytecode")}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    command = [sys.executable, "-m", "pytest", *arguments]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, cwd=folder, env=environment, capture_output=True, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return (after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime) * 1e3


def _median(values: list[float]) -> float:
    return sorted(values)[len(values) // 2]
