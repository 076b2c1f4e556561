"""`make suites`, cold and from a warm cache."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.table import Result

ROOT = Path(__file__).resolve().parent.parent
LIMIT_S = 600


def measure() -> list[Result]:
    """Run the suites twice over one fresh cache."""
    rows = [["run", "seconds", "tests", "in exports", "in parity", "in latency"]]
    taken = []
    with tempfile.TemporaryDirectory() as name:
        for label in ("cold", "warm"):
            report = Path(name) / f"{label}.json"
            seconds, results = _run(Path(name) / "cache", report)
            taken.append(seconds)
            spent = [sum(r["duration_s"] for r in results if r["check"] == c) for c in ("export", "parity", "latency")]
            rows.append([label, f"{seconds:.0f}", str(len(results)), *(f"{part:.0f} s" for part in spent)])
    cold, warm = taken
    return [
        Result(
            "The suites, cold and warm",
            "warm at most half of cold, both under 10 minutes",
            f"cold {cold:.0f} s, warm {warm:.0f} s: {warm / cold:.2f} of cold",
            warm <= cold / 2 and cold < LIMIT_S,
            rows,
            "`pytest suites/` after installation, bytecode warm, an empty cache and then the same cache again.",
        )
    ]


def _run(cache: Path, report: Path) -> tuple[float, list[dict[str, object]]]:
    command = [sys.executable, "-m", "pytest", "suites/", "-q", "--onnxprep-cache", str(cache)]
    benchmark = report.with_suffix(".benchmark.json")
    started = time.perf_counter()
    done = subprocess.run(
        [*command, "--onnxprep-json", str(report), "--benchmark-json", str(benchmark)],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    seconds = time.perf_counter() - started
    if done.returncode:
        raise SystemExit(f"the suites failed:\n{done.stdout[-5000:]}\n{done.stderr[-2000:]}")
    return seconds, json.loads(report.read_text())["results"]
