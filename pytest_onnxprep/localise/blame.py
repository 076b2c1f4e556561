"""Whether the converter, ONNX Runtime's optimiser or one of its kernels is to blame."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from pytest_onnxprep.localise.graph import Arrays, Graph
from pytest_onnxprep.localise.observe import output_error
from pytest_onnxprep.localise.probe import refusal_of, run_model
from pytest_onnxprep.localise.reference import Opinion, Reference

CONVERTER, OPTIMISER, KERNEL = "converter", "optimiser", "kernel"
_SAME = 1e-4

Right = Callable[[Mapping[str, np.ndarray]], bool]


@dataclass(frozen=True)
class Opinions:
    """What each way of running the file makes of the feeds.

    Attributes:
        blame: who is to blame, or empty.
        why: what it rests on.
        plain: outputs without optimisations; empty after a refusal.
        reference: the third opinion.
        refusal: ONNX Runtime's words without optimisations.
        refuser: the node they name.
    """

    blame: str
    why: str
    plain: Mapping[str, np.ndarray] = field(default_factory=dict)
    reference: Opinion = field(default_factory=lambda: Opinion({}))
    refusal: str = ""
    refuser: int | None = None


def opinions(graph: Graph, folder: Path, feeds: Arrays, right: Right, max_s: float) -> Opinions:
    """Run the file without optimisations and on `onnx.reference`, and draw the conclusion.

    Args:
        graph: the file's graph.
        folder: where its external data lies.
        feeds: inputs that fail with optimisations.
        right: whether outputs are within tolerance of the framework's.
        max_s: seconds for the third opinion.
    """
    plain: dict[str, np.ndarray] = {}
    refusal, refuser = "", None
    try:
        everything = graph.cut(range(len(graph.nodes)), {name: feeds[name] for name in feeds}, graph.outputs)
        plain = run_model(everything, folder, feeds, graph.outputs, graph.custom_ops)
    except Exception as error:
        found = refusal_of(graph, error)
        refusal, refuser = found.text, found.index
    if plain and right(plain):
        return Opinions(OPTIMISER, "without its graph optimisations ONNX Runtime agrees with the framework", plain)
    third = Reference(graph, folder).whole(feeds, time.monotonic() + max_s)
    blame, why = _conclusion(plain, refusal, third, right)
    return Opinions(blame, why, plain, third, refusal, refuser)


def _conclusion(plain: Arrays, refusal: str, third: Opinion, right: Right) -> tuple[str, str]:
    borrowed = f" (with ONNX Runtime's own {', '.join(third.borrowed)})" if third.borrowed else ""
    if third.outputs and right(third.outputs):
        return KERNEL, f"onnx.reference runs the same file and agrees with the framework{borrowed}"
    if refusal:
        also = "onnx.reference gives another answer than the framework, too" if third.outputs else third.why
        return CONVERTER, f"ONNX Runtime refuses the file without optimisations, too; {also}"
    if not third.outputs:
        return CONVERTER, f"ONNX Runtime without optimisations is as wrong, most likely so; {third.why}"
    if output_error(third.outputs, plain) <= _SAME:
        return CONVERTER, f"ONNX Runtime without optimisations and onnx.reference give the same wrong answer{borrowed}"
    return CONVERTER, (
        "most likely so: ONNX Runtime without optimisations and onnx.reference are both wrong, each in its own way"
    )
