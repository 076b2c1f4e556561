"""Whether the timed region of the latency sampler holds anything but `session.run`."""

from __future__ import annotations

import gc
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.exports import export
from benchmarks.table import Result
from model_zoo.torch_text import build_lstm_tagger
from model_zoo.torch_vision import build_vit
from pytest_onnxprep import TensorSpec
from pytest_onnxprep.fuzz.example import Maker
from pytest_onnxprep.runtime.sampler import Probe, Samples, collector_off, sample
from pytest_onnxprep.runtime.session import make_session

CALLS = 400
ROUNDS = 15


def measure() -> list[Result]:
    """Alternate the sampler and a bare loop in one process on one session."""
    tokens = {"tokens": TensorSpec("int64", "batch, seq", low=0, high=1000)}
    rows = [["model", "p50 bare loop (us)", "p50 sampler (us)", "ratio"]]
    ratios = []
    with tempfile.TemporaryDirectory() as name:
        for title, factory, arguments in (
            ("LSTM tagger", build_lstm_tagger, {"inputs": tokens, "dims": {"batch": (1, 8), "seq": (1, 64)}}),
            ("ViT", build_vit, {"inputs": {"image": "float32[batch, 3, 96, 96]"}}),
        ):
            model = export(Path(name), factory, "torchscript", 17, **arguments)
            maker = Maker(model.signature)
            feeds = maker.feeds(maker.plain({name: dim.largest for name, dim in model.signature.dims.items()}))
            bare, ours = race(make_session(model.path, threads=1), model.output_names, feeds)
            ratios.append(ours / bare)
            rows.append([title, f"{bare * 1e6:.2f}", f"{ours * 1e6:.2f}", f"{ratios[-1]:.4f}"])
    worst = max(ratios, key=lambda ratio: abs(ratio - 1))
    return [
        Result(
            "The timed region",
            "p50 within 1 % of a bare loop in the same process",
            f"{worst - 1:+.2%} at worst",
            abs(worst - 1) <= 0.01,
            rows,
            f"Median over {ROUNDS} alternating rounds of the p50 of {CALLS} calls, garbage collector off in both.",
        )
    ]


def race(session: Any, names: list[str], feeds: dict[str, Any]) -> tuple[float, float]:
    """Seconds of the p50 of a bare loop and of the sampler, medians over alternating rounds."""
    bare, ours = [], []
    probe = Probe(1)
    for turn in range(ROUNDS + 1):
        first, second = (_bare, _sampled) if turn % 2 else (_sampled, _bare)
        for way in (first, second):
            (bare if way is _bare else ours).append(way(session, names, feeds, probe))
    return sorted(bare[2:])[len(bare[2:]) // 2], sorted(ours[2:])[len(ours[2:]) // 2]


def _bare(session: Any, names: list[str], feeds: dict[str, Any], _probe: Probe) -> float:
    taken = []
    run, clock = session.run, time.perf_counter_ns
    gc.disable()
    try:
        for _ in range(CALLS):
            started = clock()
            run(names, feeds)
            taken.append(clock() - started)
    finally:
        gc.enable()
    return sorted(taken)[CALLS // 2] / 1e9


def _sampled(session: Any, names: list[str], feeds: dict[str, Any], probe: Probe) -> float:
    samples = Samples()
    with collector_off():
        sample(
            session.run, names, feeds, samples, rounds=CALLS, deadline=1 << 62, probe=probe, clock=time.perf_counter_ns
        )
    return sorted(samples.seconds)[CALLS // 2]
