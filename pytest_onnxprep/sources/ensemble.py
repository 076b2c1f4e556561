"""An ensemble as a source: its members on the same inputs, and what becomes of their answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from pytest_onnxprep.errors import SourceError
from pytest_onnxprep.sources.base import Arrays, Feeds
from pytest_onnxprep.sources.pipeline import ComposedSource
from pytest_onnxprep.sources.python_function import load_unexported
from pytest_onnxprep.sources.wiring import Call, load_stage
from pytest_onnxprep.spec.composition import Ensemble
from pytest_onnxprep.spec.signature import Signature


class EnsembleSource(ComposedSource):
    """The members of an `Ensemble`, loaded."""

    framework = "ensemble"

    def __init__(self, ensemble: Ensemble, base: Path | None = None) -> None:
        self.model = ensemble
        self.parts = {spec.name: load_stage(spec, base) for spec in ensemble.members}
        self.whole = None if ensemble.reference is None else load_unexported(ensemble.reference, base)
        how = ensemble.combine if isinstance(ensemble.combine, str) else "own combination"
        self.label = f"Ensemble ({how}) of {', '.join(self.parts)}"

    def derived_signature(self) -> Signature | None:
        """What the first member that knows it takes."""
        for stage in self.parts.values():
            found = Signature(stage.spec.specs) if stage.spec.specs is not None else stage.source.derived_signature()
            if found is not None:
                return found
        return None

    def answer(self, feeds: Feeds, call: Call) -> Arrays:
        """Ask every member, and combine.

        Raises:
            SourceError: the members' answers do not fit together.
        """
        values = dict(feeds)
        answers = [call(stage, stage.bind(values, values, first=True)) for stage in self.parts.values()]
        return combine(self.model, answers, list(self.parts))


def combine(ensemble: Ensemble, answers: Sequence[Arrays], names: Sequence[str]) -> Arrays:
    """The combined answer.

    Args:
        ensemble: how.
        answers: the outputs of each member.
        names: of the members, for messages.

    Raises:
        SourceError: outputs that differ in name, dtype or shape; a combination of the user's that raised.
    """
    how = ensemble.combine
    if callable(how):
        try:
            made = how([dict(answer) for answer in answers])
        except Exception as error:
            raise SourceError(f"Ensemble: combine raised {type(error).__name__}: {error}") from error
        found = made if isinstance(made, Mapping) else {"output": made}
        return {name: np.asarray(value) for name, value in found.items()}
    _check_alike(answers, names)
    weights = ensemble.weights or (1.0,) * len(answers)
    merge = _vote if how == "vote" else _mean
    return {name: merge([answer[name] for answer in answers], weights) for name in answers[0]}


def _mean(values: Sequence[np.ndarray], weights: Sequence[float]) -> np.ndarray:
    """In float64, whose rounding is none of the members'; the result in their own dtype."""
    wide = np.average(np.stack([value.astype(np.float64) for value in values]), axis=0, weights=weights)
    return np.asarray(wide, dtype=values[0].dtype if values[0].dtype.kind == "f" else np.float64)


def _vote(values: Sequence[np.ndarray], weights: Sequence[float]) -> np.ndarray:
    """The class with the most votes; of equally many, the smallest one."""
    votes = np.stack([value if value.dtype.kind in "iub" else value.argmax(axis=-1) for value in values])
    classes = np.unique(votes)
    counts = np.stack([np.average(votes == label, axis=0, weights=weights) for label in classes])
    # A sum of weights may differ in its last digit where the votes are equal.
    return np.asarray(classes[np.round(counts, 12).argmax(axis=0)], dtype=np.int64)


def _check_alike(answers: Sequence[Arrays], names: Sequence[str]) -> None:
    first = answers[0]
    for name, answer in zip(names[1:], answers[1:], strict=True):
        if list(answer) != list(first):
            raise SourceError(
                f"Ensemble: {names[0]!r} gives {', '.join(first)} and {name!r} gives {', '.join(answer)}; members need "
                "the same outputs: name them with Stage(..., outputs=[...])"
            )
        for output, value in answer.items():
            if value.shape != first[output].shape or value.dtype.kind != first[output].dtype.kind:
                wanted, found = first[output], value
                raise SourceError(
                    f"Ensemble: output {output!r} is {wanted.dtype.name}{list(wanted.shape)} of {names[0]!r} and "
                    f"{found.dtype.name}{list(found.shape)} of {name!r}; answers of one dtype and shape can be combined"
                )
