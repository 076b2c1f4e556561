"""The framework's answers for one parity check: asked for once, shared by variants, kept for the next run."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from pytest_onnxprep.artifacts.onnx_model import OnnxModel
from pytest_onnxprep.artifacts.reference_outputs import ReferenceOutputs, describable
from pytest_onnxprep.checks.case import Case
from pytest_onnxprep.fuzz.example import Example

Arrays = Mapping[str, np.ndarray]

#: Answers held in memory per model, in bytes.
MEMO_BYTES = 128_000_000


class Expected:
    """Answers by example.

    Args:
        case: model, and the folder of kept answers.
        reference: asks the framework.
        examples: names the set of examples: signature, recipes, the user's own functions.
        shareable: whether another process means the same by that name.
    """

    def __init__(self, case: Case, reference: Callable[[Arrays], Arrays], examples: str, *, shareable: bool) -> None:
        self._reference = reference
        self._memo: dict[str, Any] = case.model.source.memo
        #: Shared by the variants of the model.
        self._known: dict[tuple[Any, ...], Arrays] = self._memo.setdefault(examples, {})
        self._kept: dict[str, Arrays] = {}
        #: Examples whose answer is an earlier run's.
        self._unproven: set[tuple[Any, ...]] = self._memo.setdefault(f"unproven {examples}", set())
        self._file = _file(case.model, case, examples) if shareable else None
        if self._file is not None:
            self._kept = self._file.load()

    def get(self, example: Example, feeds: Arrays) -> Arrays:
        """The framework's answer.

        Raises:
            ReferenceRefused: it does not take these sizes or values.
        """
        key = example.key
        expected = self._known.get(key)
        if expected is None:
            kept = self._kept.get(repr(key)) if self._kept else None
            if kept is not None:
                self._unproven.add(key)
            expected = self._reference(feeds) if kept is None else kept
            self._remember(key, expected)
        return expected

    def ask(self, example: Example, feeds: Arrays) -> Arrays:
        """The live answer, whatever an earlier run said.

        Raises:
            ReferenceRefused: the framework does not take these sizes or values.
        """
        live = self._reference(feeds)
        self.learn(example, live)
        return live

    def learn(self, example: Example, live: Arrays) -> None:
        """Take an answer that was just given; where an earlier run's differs by one bit, none of those count."""
        kept = self._kept.get(repr(example.key))
        if kept is not None and not _same(kept, live):
            self._distrust()
        self._unproven.discard(example.key)
        self._remember(example.key, live)

    def is_unproven(self, example: Example) -> bool:
        """Whether the answer is an earlier run's that nobody has confirmed."""
        return example.key in self._unproven

    def _distrust(self) -> None:
        """Forget what earlier runs said."""
        self._kept = {}
        for key in self._unproven & self._known.keys():
            self._memo["bytes"] -= _nbytes(self._known.pop(key))
        self._unproven.clear()

    def keep(self, examples: Iterable[Example]) -> None:
        """Leave the answers to these examples to the next run."""
        if self._file is None:
            return
        found = {repr(e.key): self._known[e.key] for e in examples if not e.sample and e.key in self._known}
        if found.keys() - self._kept.keys() and all(describable(arrays) for arrays in found.values()):
            self._file.save(found)

    def _remember(self, key: tuple[Any, ...], expected: Arrays) -> None:
        known = self._known.get(key)
        size = _nbytes(expected) - (0 if known is None else _nbytes(known))
        if self._memo.setdefault("bytes", 0) + size <= MEMO_BYTES:
            self._memo["bytes"] += size
            self._known[key] = expected


def _nbytes(arrays: Arrays) -> int:
    return sum(array.nbytes for array in arrays.values())


def _file(model: OnnxModel, case: Case, examples: str) -> ReferenceOutputs | None:
    return ReferenceOutputs(case.references, model.key, examples) if case.references and model.key else None


def _same(kept: Arrays, live: Arrays) -> bool:
    return kept.keys() == live.keys() and all(
        kept[name].dtype == live[name].dtype and kept[name].tobytes() == live[name].tobytes() for name in kept
    )
