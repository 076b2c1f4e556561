"""What fuzzing costs over a bare loop: framework, ONNX Runtime and comparison over the same feeds."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.exports import export
from benchmarks.table import Result
from model_zoo.torch_text import build_lstm_tagger
from model_zoo.torch_vision import build_unet, build_vit
from model_zoo.transformers_models import build_distilbert_classifier
from pytest_onnxprep import Dim, OnnxModel, TensorSpec
from pytest_onnxprep.checks import parity
from pytest_onnxprep.checks.case import Case
from pytest_onnxprep.checks.parity_run import ParityRun
from pytest_onnxprep.fuzz.plan import corner_examples
from pytest_onnxprep.spec.check_requests import read_parity

EXAMPLES = 100
#: Rounds per model: at least `MIN_ROUNDS`, more while they fit into `LIMIT_S`. A tiny model needs many to find a
#: quiet moment; the fastest round of each way counts.
MIN_ROUNDS = 3
LIMIT_S = 7.0

_TOKENS = {"tokens": TensorSpec("int64", "batch, seq", low=0, high=1000)}
_MODELS: dict[str, tuple[Any, dict[str, Any]]] = {
    "LSTM tagger": (build_lstm_tagger, {"inputs": _TOKENS, "dims": {"batch": (1, 8), "seq": (1, 64)}}),
    "DistilBERT, 2 layers": (build_distilbert_classifier, {"dims": {"batch": (1, 8), "seq": (1, 64)}}),
    "ViT, 3.0 M parameters": (build_vit, {"inputs": {"image": "float32[batch, 3, 96, 96]"}}),
    "U-Net, 1.9 M parameters": (
        build_unet,
        {
            "inputs": {"image": "float32[batch, 3, h, w]"},
            "dims": {"batch": (1, 2), "h": Dim(32, 128, multiple_of=16), "w": Dim(32, 128, multiple_of=16)},
        },
    ),
}


def measure() -> list[Result]:
    """Time both ways in turn, over the feeds the check itself drew."""
    rows = [["model", "ms per example, bare loop", "ms per example, @parity", "ratio", "rounds"]]
    ratios = []
    with tempfile.TemporaryDirectory() as name:
        for title, (factory, arguments) in _MODELS.items():
            model = export(Path(name), factory, "torchscript", 17, **arguments)
            bare, fuzzed = _race(model)
            ratios.append(min(fuzzed) / min(bare))
            shown = [f"{value / EXAMPLES * 1e3:.2f}" for value in (min(bare), min(fuzzed))]
            rows.append([title, *shown, f"{ratios[-1]:.3f}", str(len(bare))])
    tiny, small = ratios[:1], ratios[1:]
    note = (
        "The bare loop runs the framework, ONNX Runtime and `np.testing.assert_allclose` over ready feeds; "
        "the check draws with Hypothesis, makes the arrays, runs both, compares, and keeps its figures. Fastest "
        "round of each, in turn; one thread for torch and ONNX Runtime alike."
    )
    bar = f"{EXAMPLES} examples take at most 1.10x a bare loop over the same feeds"
    return [
        Result("Fuzzing small models", bar, _worst(small), max(small) <= 1.10, [rows[0], *rows[2:]], note),
        Result(
            "Fuzzing a model of under a millisecond",
            bar,
            _worst(tiny),
            max(tiny) <= 1.10,
            rows[:2],
            "The same measurement: what drawing, making and bookkeeping cost an example shows when the model costs as "
            "little as they do.",
        ),
    ]


def _worst(ratios: list[float]) -> str:
    return f"{max(ratios):.3f}x at worst of {len(ratios)}"


def _race(model: OnnxModel) -> tuple[list[float], list[float]]:
    import hypothesis
    import torch

    # The same examples in every round, and in the bare loop.
    hypothesis.settings.register_profile("benchmark", derandomize=True)
    hypothesis.settings.load_profile("benchmark")
    torch.set_num_threads(1)
    from pytest_onnxprep.runtime.session import make_session

    model.__dict__["session"] = make_session(model.path, threads=1)
    case = Case(model, read_parity(atol=1e-4, rtol=1e-3), examples=EXAMPLES)
    feeds = _feeds_of(case)
    bare, fuzzed = [], []
    deadline = time.monotonic() + LIMIT_S
    while len(bare) <= MIN_ROUNDS or time.monotonic() < deadline:
        bare.append(_bare_loop(model, feeds))
        model.source.memo.clear()
        started = time.perf_counter()
        result = parity.run(case)
        fuzzed.append(time.perf_counter() - started)
        assert result.figures["examples"] == EXAMPLES, result
    return bare[1:], fuzzed[1:]


def _feeds_of(case: Case) -> list[dict[str, np.ndarray]]:
    """The feeds of a run of the check, in order."""
    run = ParityRun(case)
    corners = corner_examples(run.maker)
    examples = [*corners, *parity._drawn(run, EXAMPLES - len(corners))]
    return [run.maker.feeds(example) for example in examples]


def _bare_loop(model: OnnxModel, feeds: list[dict[str, np.ndarray]]) -> float:
    """What a person would write by hand."""
    import torch

    module, session, names = model.source.model, model.session, model.output_names
    keyword = model.source.framework == "transformers"
    started = time.perf_counter()
    for feed in feeds:
        with torch.no_grad():
            tensors = {name: torch.tensor(array) for name, array in feed.items()}
            expected = module(**tensors).logits if keyword else module(*tensors.values())
        actual = session.run(names, feed)
        np.testing.assert_allclose(actual[0], expected.numpy(), atol=1e-4, rtol=1e-3)
    return time.perf_counter() - started
