"""Real exports of small models, and faults planted in them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from pytest_onnxprep.artifacts.onnx_model import OnnxModel
from pytest_onnxprep.artifacts.store import Store
from pytest_onnxprep.checks.prepare import build_signature
from pytest_onnxprep.compare.outputs import Rule
from pytest_onnxprep.exporters.workshop import Workshop
from pytest_onnxprep.fuzz.example import Maker
from pytest_onnxprep.localise.graph import Graph
from pytest_onnxprep.localise.result import Localisation
from pytest_onnxprep.localise.run import localise
from pytest_onnxprep.sources.load import load_source
from pytest_onnxprep.spec.export_request import read_export
from pytest_onnxprep.spec.tolerance import Tolerance
from pytest_onnxprep.spec.variant import Variant

RULE = Rule(Tolerance(1e-4, 1e-3))
Edit = Callable[[onnx.ModelProto], None]


class Planted:
    """A real export; `find` plants a fault in a copy and looks for it."""

    def __init__(self, model: OnnxModel, feeds: Mapping[str, np.ndarray], folder: Path) -> None:
        self.model = model
        self.feeds = dict(feeds)
        self.folder = folder

    def edited(self, edit: Edit) -> OnnxModel:
        """The export with a fault in it."""
        proto = onnx.ModelProto()
        proto.CopyFrom(self.model.proto)
        edit(proto)
        path = self.folder / "edited.onnx"
        onnx.save(proto, str(path))
        return OnnxModel(path, self.model.signature, self.model.source, self.model.variant, {})

    def find(self, edit: Edit = lambda proto: None, rule: Rule = RULE, **options: Any) -> Localisation:
        """Where the search says the fault is."""
        model = self.edited(edit)
        return localise(model, self.feeds, model.reference(self.feeds), rule, **options)

    def nodes(self, op_type: str) -> list[Any]:
        """The export's nodes of one operator."""
        return [node for node in self.model.proto.graph.node if node.op_type == op_type]

    def is_near(self, found: Localisation, node: Any) -> bool:
        """Whether the search named a node or a direct neighbour."""
        graph = Graph(self.model.proto)
        index = graph.producer[node.output[0]]
        near = {index, *graph.before(index), *graph.after(index)}
        return found.output in {name for one in near for name in graph.nodes[one].output}


@pytest.fixture
def planted(tmp_path):
    """Export a model, with feeds at some sizes or given ones."""

    def make(
        model: Any,
        exporter: str | None = None,
        *,
        at: Mapping[str, int] | None = None,
        feeds: Mapping[str, np.ndarray] | None = None,
        **arguments: Any,
    ) -> Planted:
        workshop = Workshop(Store(tmp_path / "cache", run_dir=tmp_path / "run"))
        source = load_source(model)
        signature = build_signature(source, read_export(model, **arguments))
        exported = workshop.export(source, signature, Variant(exporter, None, {}), domains=(), artifact=None)
        maker = Maker(signature)
        made = feeds or maker.feeds(maker.plain({**signature.trace_sizes(), **(at or {})}))
        return Planted(exported, made, tmp_path)

    return make


def named(proto: onnx.ModelProto, output: str) -> Any:
    """The node that writes a tensor."""
    return next(node for node in proto.graph.node if output in node.output)


def change_constant(proto: onnx.ModelProto, node: Any, slot: int, change: Callable[[np.ndarray], Any]) -> None:
    """Give one input of one node another constant."""
    name = node.input[slot]
    held = next((numpy_helper.to_array(one) for one in proto.graph.initializer if one.name == name), None)
    if held is None:
        held = numpy_helper.to_array(named(proto, name).attribute[0].t)
    changed = np.asarray(change(held.copy()), held.dtype)
    proto.graph.initializer.append(numpy_helper.from_array(changed, f"{name}_changed"))
    node.input[slot] = f"{name}_changed"


def change_attribute(node: Any, name: str, value: Any) -> None:
    """Give one attribute of one node another value."""
    for attribute in list(node.attribute):
        if attribute.name == name:
            node.attribute.remove(attribute)
    node.attribute.append(onnx.helper.make_attribute(name, value))
