"""One fresh process: reads what to do as JSON from its argument, prints what it found as JSON.

It imports what a latency item imports and no framework.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from pytest_onnxprep.runtime.duet import duet, onnx_side
from pytest_onnxprep.runtime.latency import measure
from pytest_onnxprep.runtime.session import make_session

FEEDS = {"x": np.random.default_rng(1).standard_normal((32, 128)).astype(np.float32)}


def main(asked: dict[str, Any]) -> dict[str, Any]:
    """Do each step in order; a step is ``{"do": ..., "model": path, ...}``."""
    return {
        name: STEPS[step["do"]](**{key: value for key, value in step.items() if key != "do"})
        for name, step in asked.items()
    }


def play(model: str, rival: str, limit: float) -> dict[str, Any]:
    """A duet with every default as the mark has it."""
    sides = [
        onnx_side(name, Path(path), FEEDS, provider=None, threads=1) for name, path in (("a", model), ("b", rival))
    ]
    found = duet(*sides, limit=limit)
    return {
        "ruling": found.decision.ruling.name.lower(),
        "ratio": found.decision.ratio,
        "elapsed_s": found.elapsed_s,
        "pairs": found.decision.pairs,
        "preempted": found.preempted_share,
        "stretch": found.stretch,
        "self_check": found.self_check,
    }


def hold(model: str, p95_ms: float) -> dict[str, Any]:
    """An absolute budget with every default as the mark has it."""
    found = measure(make_session(model, threads=1), FEEDS, budgets={"p95_ms": p95_ms}, threads=1)
    return {"ruling": found.verdict.value, "summary": found.summary}


def loop(model: str, seconds: float) -> dict[str, Any]:
    """A plain timed loop, as pytest-benchmark's rounds are: collector on, nothing dropped."""
    session = make_session(model, threads=1)
    for _ in range(32):
        session.run(None, FEEDS)
    taken: list[float] = []
    clock, end = time.perf_counter, time.perf_counter() + seconds
    while not taken or clock() < end:
        start = clock()
        session.run(None, FEEDS)
        taken.append(clock() - start)
    return {
        "mean_s": float(np.mean(taken)),
        "p95_s": float(np.percentile(taken, 95)),
        "p95_of_100_s": float(np.percentile(taken[:100], 95)),
        "min_s": min(taken),
        "n": len(taken),
    }


STEPS = {"play": play, "hold": hold, "loop": loop}

if __name__ == "__main__":
    print(json.dumps(main(json.loads(sys.argv[1]))))
