"""What checks in fresh processes have in common: what a child loads and runs, and the frame of a measurement."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from pytest_onnxprep.artifacts.composed_model import ComposedModel
from pytest_onnxprep.artifacts.onnx_model import OnnxModel
from pytest_onnxprep.checks.case import Case
from pytest_onnxprep.checks.sizes import at_sizes, shown_sizes, told_at
from pytest_onnxprep.runtime.child_process import Files, Inputs
from pytest_onnxprep.sources.pipeline import ComposedSource
from pytest_onnxprep.spec.verdict import CheckResult


@dataclass(frozen=True)
class Subject:
    """What a child loads and runs.

    Args:
        files: the file, or all files of a model that has several.
        inputs: of one run: the feeds, or the calls that the files get, each with the inputs that reach it.
        largest: the same, but of each file only the call with the largest inputs: what memory depends on.
        parts: names of several files; empty for one.
        outside: names of the parts that are in no file: they stay in Python or in their framework, and in no child.
    """

    files: Files
    inputs: Inputs
    largest: Inputs
    parts: tuple[str, ...] = ()
    outside: tuple[str, ...] = ()

    @classmethod
    def of(cls, model: OnnxModel, feeds: Mapping[str, Any]) -> Subject:
        """The subject of a model at given inputs.

        Raises:
            OnnxPrepError: a model of several files does not run on them.
        """
        if not isinstance(model, ComposedModel):
            return cls(model.path, feeds, feeds)
        places = {name: place for place, name in enumerate(model.parts)}
        calls = [(places[name], inputs) for name, inputs in model.calls(feeds)]
        largest: dict[int, dict[str, np.ndarray]] = {}
        for place, inputs in calls:
            if place not in largest or nbytes(inputs) > nbytes(largest[place]):
                largest[place] = inputs
        stages = model.source.parts.values() if isinstance(model.source, ComposedSource) else ()
        outside = tuple(stage.name for stage in stages if not stage.exported)
        return cls([part.path for part in model.parts.values()], calls, list(largest.items()), tuple(places), outside)

    @property
    def shown(self) -> str:
        """``; 2 files in one process, without nms``; nothing of a single file."""
        without = f", without {', '.join(self.outside)}" if self.outside else ""
        return f"; {len(self.parts)} files in one process{without}" if self.parts else ""

    @property
    def figures(self) -> dict[str, Any]:
        """What was loaded, and what was not; nothing of a single file."""
        return {"files": list(self.parts), "outside": list(self.outside)} if self.parts else {}


def nbytes(arrays: Mapping[str, np.ndarray]) -> int:
    """Bytes of all arrays together."""
    return sum(array.nbytes for array in arrays.values())


def held_to_budgets(case: Case, mark: str, measure: Callable[..., Any], *, largest: bool, **more: Any) -> CheckResult:
    """Measure in fresh processes at the sizes of the request, and tell what was found with these sizes.

    Args:
        case: its request has ``at``, ``budgets``, ``threads`` and ``provider``.
        mark: for messages.
        measure: takes files and inputs.
        largest: whether of each file only the largest call counts.
        **more: further arguments of ``measure``.

    Raises:
        SpecError: ``at`` names an unknown dim, or a size outside its range.
        OnnxPrepError: the model cannot be measured.
    """
    request, model = case.request, case.model
    sizes, feeds = at_sizes(model.signature, request.at[0], f"{mark}(at=)")
    subject = Subject.of(model, feeds)
    found = measure(
        subject.files,
        subject.largest if largest else subject.inputs,
        budgets=request.budgets,
        threads=request.threads,
        provider=request.provider or model.provider,
        custom_ops=model.custom_ops,
        **more,
    )
    summary = found.summary + shown_sizes(sizes) + subject.shown
    details = told_at(found.details, sizes)
    return CheckResult(
        found.verdict,
        summary,
        {**found.figures, "at": sizes, **subject.figures},
        f"{details}{subject.shown}" if details else "",
    )
