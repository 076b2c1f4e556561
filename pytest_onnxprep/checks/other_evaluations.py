"""The same file evaluated in other ways that are as right: rounded differently, or choosing others among equals."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from pytest_onnxprep.artifacts.onnx_model import OnnxModel
from pytest_onnxprep.compare.choices import free_choices
from pytest_onnxprep.compare.noise import with_noise
from pytest_onnxprep.localise.probe import open_session
from pytest_onnxprep.runtime import watchdog
from pytest_onnxprep.spec.tolerance import EPSILON

Arrays = Mapping[str, np.ndarray]

#: Other choices among equals that are looked at.
CHOICES = 16


class OtherEvaluations:
    """Of one file. Whatever fails is no verdict.

    Args:
        model: the file.
        graph: its graph in float64, see `OnnxModel.in_double`.
    """

    def __init__(self, model: OnnxModel, graph: Any) -> None:
        self._model, self._graph = model, graph
        #: What is asked for -> its session; None where there is none.
        self._sessions: dict[str, Any] = {}

    def rounded(self, feeds: Arrays, name: str, dtype: np.dtype[Any], seed: int) -> np.ndarray | None:
        """An output as exact arithmetic has it whose every operation rounds to this precision at random."""
        evaluate = getattr(self._graph, "rounded", None)
        outputs = None if evaluate is None else evaluate(feeds, dtype, EPSILON[dtype.name], seed)
        return None if outputs is None else outputs[name]

    def noisy(self, feeds: Arrays, name: str) -> np.ndarray | None:
        """An output of ONNX Runtime's with noise of a rounding error in what rounds nearly always."""
        found = self._run("noise", with_noise, feeds, name, 1)
        return found[0] if found else None

    def choices(self, feeds: Arrays, name: str) -> list[np.ndarray]:
        """An output where the TopK nodes before it choose others among equals; empty where there are none."""
        return self._run(name, lambda model: free_choices(model, name), feeds, name, CHOICES)

    def _run(self, key: str, edited: Callable[[Any], Any], feeds: Arrays, name: str, runs: int) -> list[np.ndarray]:
        try:
            if key not in self._sessions:
                self._sessions[key] = None
                model = edited(self._model.graph_proto)
                if model is not None:
                    folder = self._model.path.resolve().parent
                    self._sessions[key] = open_session(model, folder, self._model.custom_ops)
            session = self._sessions[key]
            if session is None:
                return []
            return [watchdog.run(session.run, [name], dict(feeds), key)[0] for _ in range(runs)]
        except Exception:
            self._sessions[key] = None
            return []
