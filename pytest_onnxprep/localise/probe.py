"""The values an ONNX file computes on the way, without a graph optimisation that could hide them."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pytest_onnxprep.artifacts.onnx_model import tensor_bytes
from pytest_onnxprep.localise.graph import Arrays, Graph
from pytest_onnxprep.runtime import watchdog
from pytest_onnxprep.runtime.bfloat16 import teach
from pytest_onnxprep.runtime.custom_ops import register

_REFUSER = re.compile(r"while running (\S+) node\. Name:'(.*?)'")
_FATAL_ONLY = 4
_LIMIT_BYTES = 300_000_000
_KEPT_BYTES = 100_000_000
_PACKED_BYTES = 1_000_000_000


@dataclass(frozen=True)
class Refusal:
    """ONNX Runtime's refusal to run a node."""

    index: int | None
    text: str


def refusal_of(graph: Graph, error: Exception | str) -> Refusal:
    """Which node an error of ONNX Runtime names."""
    text = " ".join(str(error).split())
    found = _REFUSER.search(text)
    if found is None:
        return Refusal(None, text)
    index = graph.index_of(found[2])
    if index is None:
        alike = [i for i, node in enumerate(graph.nodes) if node.op_type == found[1] and not node.name]
        index = alike[0] if len(alike) == 1 else None
    return Refusal(index, text)


def run_model(
    model: Any, folder: Path, feeds: Arrays, outputs: Iterable[str], custom_ops: Iterable[str] = ()
) -> dict[str, np.ndarray]:
    """Run a model held in memory, as it is written.

    Args:
        model: the ``ModelProto``.
        folder: where its external data lies.
        feeds: inputs; ones the model does not have are left out.
        outputs: what to return.
        custom_ops: libraries of custom operators.
    """
    session = open_session(model, folder, custom_ops)
    readable = {value.name for value in session.get_outputs()}
    wanted = [name for name in outputs if name in readable]
    taken = {value.name for value in session.get_inputs()}
    given = {name: array for name, array in feeds.items() if name in taken}
    values = watchdog.run(session.run, wanted, given, "a part of the model")
    return dict(zip(wanted, values, strict=True))


def open_session(model: Any, folder: Path, custom_ops: Iterable[str] = ()) -> Any:
    """An unoptimised, silent session of a model held in memory."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = _FATAL_ONLY
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    register(options, custom_ops)
    if sum(map(tensor_bytes, model.graph.initializer)) > _PACKED_BYTES:
        options.add_session_config_entry("session.disable_prepacking", "1")  # no copy of what is mapped from the file
    options.add_session_config_entry("session.model_external_initializers_file_folder_path", str(folder))
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    teach(session)
    return session


class Probe:
    """Fetches tensors of one graph on one set of feeds, in portions.

    Args:
        graph: the graph.
        folder: where its external data lies.
        feeds: the inputs.
        deadline: ``time.monotonic()`` after which nothing new is started.
    """

    def __init__(self, graph: Graph, folder: Path, feeds: Arrays, deadline: float) -> None:
        self.graph = graph
        self.folder = folder
        self.feeds = feeds
        self.deadline = deadline
        self.refusals: dict[int, str] = {}
        self.why = ""
        self._kept: dict[str, np.ndarray] = {}
        self._room = _KEPT_BYTES

    @property
    def runnable(self) -> list[int]:
        """The nodes that need nothing of a node that was refused."""
        lost = self.graph.descendants(self.refusals)
        return [index for index in range(len(self.graph.nodes)) if index not in lost]

    def fetch(self, names: Iterable[str]) -> dict[str, np.ndarray]:
        """Whole tensors; ones that cannot be had are left out."""
        asked = list(dict.fromkeys(names))
        known = {**self._kept, **self.feeds}
        found: dict[str, np.ndarray] = {name: known[name] for name in asked if name in known}
        wanted = [name for name in asked if name in self.graph.producer and name not in found]
        while wanted:
            runnable = set(self.runnable)
            wanted = [name for name in wanted if self.graph.producer[name] in runnable]
            if not wanted:
                break
            nodes = self.graph.ancestors(self.graph.producer[name] for name in wanted)
            model = self.graph.cut(nodes, self.feeds, wanted)
            try:
                made = run_model(model, self.folder, self.feeds, wanted, self.graph.custom_ops)
            except Exception as error:
                if not self._note(error):
                    break
                continue
            found.update(made)
            self._keep(made)
            break
        return found

    def visit(self, look: Callable[[str, Any], None], portion: int) -> None:
        """Show every tensor to ``look``, in the graph's order.

        Args:
            look: takes a name and a value.
            portion: tensors held at once.
        """
        names = [name for node in self.graph.nodes for name in node.output if name]
        while names:
            if time.monotonic() > self.deadline:
                self.why = "time ran out before every tensor was seen"
                return
            found = self.fetch(names[:portion])
            for name in names[:portion]:
                if name in found:
                    look(name, found[name])
            names = names[portion:]

    def portion(self, traced_bytes: int) -> int:
        """How many tensors can be held at once, judged by what the framework's own values take."""
        count = max(1, sum(len(node.output) for node in self.graph.nodes))
        return max(4, int(count * min(1.0, _LIMIT_BYTES / max(1, traced_bytes))))

    def _keep(self, values: Mapping[str, Any]) -> None:
        """Remember small values: every run of a large model costs the loading of its weights."""
        for name, value in arrays(values):
            if value.nbytes <= self._room // 8:
                self._kept[name] = value
                self._room -= value.nbytes

    def _note(self, error: Exception) -> bool:
        refusal = refusal_of(self.graph, error)
        if refusal.index is None or refusal.index in self.refusals:
            self.why = refusal.text[:300]
            return False
        self.refusals[refusal.index] = refusal.text
        return True


def is_array(value: Any) -> bool:
    """Whether a fetched value is a tensor of numbers."""
    return (isinstance(value, np.ndarray) and value.dtype.kind in "fiub") or getattr(value, "dtype", None) == "bfloat16"


def arrays(values: Mapping[str, Any]) -> Iterator[tuple[str, np.ndarray]]:
    """The tensors among fetched values."""
    return ((name, value) for name, value in values.items() if is_array(value))
