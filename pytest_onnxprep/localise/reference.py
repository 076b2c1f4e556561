"""`onnx.reference` as a third opinion, node by node: its exceptions and its slowness are no verdict."""

from __future__ import annotations

import time
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pytest_onnxprep.localise.graph import Arrays, Graph
from pytest_onnxprep.localise.probe import run_model

#: Multiplications the reference does in a second, roughly, and what one node may take.
_PER_SECOND = 8e8
_NODE_S = 1.5
_LARGEST_BYTES = 400_000_000
#: Attributes that the reference does not heed: its answer is another one's.
_IGNORED = {"LSTM": ("input_forget", "clip"), "GRU": ("clip",), "RNN": ("clip",)}


@dataclass(frozen=True)
class Opinion:
    """What the reference makes of a whole graph.

    Attributes:
        outputs: the graph's outputs; empty without a verdict.
        borrowed: operators the reference cannot run, whose results are ONNX Runtime's.
        why: why there is no verdict.
    """

    outputs: Mapping[str, np.ndarray]
    borrowed: tuple[str, ...] = ()
    why: str = ""


class Reference:
    """Evaluates nodes of a graph one at a time.

    Args:
        graph: the graph.
        folder: where its external data lies.
    """

    def __init__(self, graph: Graph, folder: Path) -> None:
        self.graph = graph
        self.folder = folder
        self._weights: dict[str, np.ndarray] = {}

    def whole(self, feeds: Arrays, deadline: float) -> Opinion:
        """Evaluate the whole graph.

        Args:
            feeds: the inputs.
            deadline: ``time.monotonic()`` after which there is no verdict.
        """
        values: dict[str, Any] = dict(feeds)
        last = {name: index for index, names in enumerate(self.graph.reads) for name in names}
        last |= {name: len(self.graph.nodes) for name in self.graph.outputs}
        borrowed: dict[str, None] = {}
        for index, node in enumerate(self.graph.nodes):
            if time.monotonic() > deadline:
                return Opinion({}, why=f"onnx.reference is too slow ({index} of {len(self.graph.nodes)} nodes in time)")
            found = self.node(index, values)
            if found is None:
                try:
                    found = self._by_runtime(index, values)
                except Exception as error:
                    return Opinion({}, why=f"onnx.reference has no verdict on {self.graph.label(index)}: {error}"[:200])
                borrowed[node.op_type] = None
            values.update(found)
            for name in self.graph.reads[index]:
                if last.get(name) == index and name not in feeds:
                    values.pop(name, None)
        outputs = {name: np.asarray(values[name]) for name in self.graph.outputs if name in values}
        return Opinion(outputs, tuple(borrowed))

    def node(self, index: int, values: Mapping[str, Any]) -> dict[str, np.ndarray] | None:
        """The reference's results of one node; None where it cannot or would take too long."""
        node = self.graph.nodes[index]
        if any(attribute.name in _IGNORED.get(node.op_type, ()) for attribute in node.attribute):
            return None
        try:
            feeds = {name: self._value(name, values) for name in self.graph.reads[index]}
            if _work(node, feeds) > _NODE_S * _PER_SECOND:
                return None
            if sum(getattr(array, "nbytes", 0) for array in feeds.values()) > _LARGEST_BYTES:
                return None
            return self._evaluate(index, feeds)
        except Exception:  # no verdict, whatever it is
            return None

    def _evaluate(self, index: int, feeds: Mapping[str, Any]) -> dict[str, np.ndarray]:
        from onnx.reference import ReferenceEvaluator

        names = [name for name in self.graph.nodes[index].output if name]
        bare = {name: np.asarray(array) for name, array in feeds.items()}
        model = self.graph.cut([index], bare, names)
        del model.graph.initializer[:]
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            results = ReferenceEvaluator(model).run(names, bare)
        return dict(zip(names, (np.asarray(result) for result in results), strict=True))

    def _by_runtime(self, index: int, values: Mapping[str, Any]) -> dict[str, np.ndarray]:
        feeds = {name: np.asarray(values[name]) for name in self.graph.reads[index] if name in values}
        names = [name for name in self.graph.nodes[index].output if name]
        return run_model(self.graph.cut([index], feeds, names), self.folder, feeds, names, self.graph.custom_ops)

    def _value(self, name: str, values: Mapping[str, Any]) -> Any:
        if name in values:
            return values[name]
        if name not in self._weights:
            self._weights[name] = weight(self.graph, self.folder, name)
        return self._weights[name]


def weight(graph: Graph, folder: Path, name: str) -> np.ndarray:
    """An initializer's values, read from beside the file where they lie there."""
    import onnx

    return np.asarray(onnx.numpy_helper.to_array(graph.initializers[name], str(folder)))


def _work(node: Any, feeds: Mapping[str, Any]) -> float:
    """A rough count of the work of the operators that can be slow."""
    arrays = [np.asarray(feeds[name]) for name in node.input if name in feeds]
    if not arrays:
        return 0.0
    if node.op_type in ("Conv", "ConvTranspose", "ConvInteger", "QLinearConv") and len(arrays) > 1:
        return float(arrays[0].size * arrays[1].size / max(1, arrays[1].shape[1]))
    if node.op_type in ("LSTM", "GRU", "RNN") and len(arrays) > 1:
        return float(arrays[0].shape[0]) * arrays[1].size * 50
    if node.op_type in ("MaxPool", "AveragePool", "Resize", "GridSample", "RoiAlign", "NonMaxSuppression"):
        return float(arrays[0].size) * 2000
    if node.op_type in ("Loop", "Scan"):
        return float("inf")
    return float(sum(array.size for array in arrays)) * 20
