"""Measure every bar and write RESULTS.md: `make bench`, or `python -m benchmarks.run fuzzing sampler`."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

from pytest_onnxprep.report.environment import environment, header_line

BENCHMARKS = ("startup", "fuzzing", "sampler", "memory", "suites", "large", "latency", "detection")
#: Benchmarks that are packages: what holds their ``measure``.
_PACKAGES = {"detection": "detection.__main__", "latency": "latency.__main__"}
RESULTS = Path(__file__).with_name("RESULTS.md")


def main(names: list[str]) -> int:
    """Run the named benchmarks (all by default); RESULTS.md is written only when all of them ran."""
    unknown = [name for name in names if name not in BENCHMARKS]
    if unknown:
        print(f"unknown benchmark {', '.join(unknown)}; there are {', '.join(BENCHMARKS)}")
        return 2
    results = []
    for name in names or BENCHMARKS:
        for result in importlib.import_module(f"benchmarks.{_PACKAGES.get(name, name)}").measure():
            print(f"{'ok  ' if result.met else 'MISS'} {result.title}: {result.measured}", flush=True)
            results.append(result)
    if not names:
        parts = ["# Results", "", "Made by `make bench`; every figure of one section comes from one run, side by side."]
        parts += ["", f"`{header_line(environment())}`", ""]
        RESULTS.write_text("\n".join([*parts, *(result.markdown() + "\n" for result in results)]), encoding="utf-8")
        print(f"wrote {RESULTS.name}")
    return 0 if all(result.met for result in results) else 1


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
