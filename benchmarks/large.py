"""A model of 2.35 GB: what the plugin's export, validation, parity and report take beside the bare exporter."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.table import Result

ROOT = Path(__file__).resolve().parent.parent
LIMIT = 1.3

#: The high-water mark of the process itself: unlike ``ru_maxrss`` it starts anew with a program.
_PEAK = """
def peak_gb():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmHWM")) / 1e6
"""
_BARE = """
import json, sys, time
import torch
from model_zoo.torch_large import WIDTH, build_wide_mlp
model = build_wide_mlp()
started = time.perf_counter()
torch.onnx.export(
    model, (torch.zeros(2, WIDTH),), sys.argv[1] + "/model.onnx", dynamo=True, opset_version=20, external_data=True,
    dynamic_shapes=({0: "batch"},), input_names=["x"], output_names=["y"], verbose=False,
)
json.dump({"seconds": time.perf_counter() - started, "peak_gb": peak_gb()}, open(sys.argv[1] + "/told.json", "w"))
"""
_PLUGIN = """
import json, sys, time
import pytest
started = time.perf_counter()
status = pytest.main(["suites/large", "-m", "large", "-q", "-p", "no:cacheprovider",
                      "--onnxprep-cache", sys.argv[1] + "/cache", "--onnxprep-json", sys.argv[1] + "/report.json"])
told = {"seconds": time.perf_counter() - started, "peak_gb": peak_gb(), "status": int(status)}
json.dump(told, open(sys.argv[1] + "/told.json", "w"))
"""


def measure() -> list[Result]:
    """One process each, one after the other."""
    bare, _ = _run(_BARE)
    plugin, results = _run(_PLUGIN)
    ratio = plugin["peak_gb"] / bare["peak_gb"]
    verdicts = {result["check"]: result["verdict"] for result in results}
    passed = plugin["status"] == 0 and verdicts == dict.fromkeys(("export", "parity", "size"), "pass")
    rows = [
        ["", "peak GB", "seconds"],
        ["`torch.onnx.export(dynamo=True, external_data=True)`", f"{bare['peak_gb']:.2f}", f"{bare['seconds']:.0f}"],
        [
            "`pytest suites/large -m large`: export, contract, parity, size, report",
            f"{plugin['peak_gb']:.2f}",
            f"{plugin['seconds']:.0f}",
        ],
    ]
    return [
        Result(
            "A model of 2.35 GB",
            f"peak memory at most {LIMIT} times the bare exporter's, all checks pass",
            f"{ratio:.2f} times, {', '.join(f'{check} {verdict}' for check, verdict in verdicts.items())}",
            ratio <= LIMIT and passed,
            rows,
            "Twelve linear layers of 7000 by 7000 in float32. Peak is the resident set (`VmHWM`) of a fresh process "
            "that also builds the model; it counts pages mapped from the file. Seconds without building the model for "
            "the bare exporter, all of pytest for the plugin.",
        )
    ]


def _run(program: str) -> tuple[dict[str, float], list[dict[str, str]]]:
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            [sys.executable, "-c", _PEAK + program, folder],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
        )
        told = Path(folder) / "told.json"
        if not told.exists():
            raise SystemExit(f"the run ended with {done.returncode}:\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}")
        report = Path(folder) / "report.json"
        results = json.loads(report.read_text())["results"] if report.exists() else []
        return json.loads(told.read_text()), results
