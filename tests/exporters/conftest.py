"""One export, as a test asks for it, through the same workshop the plugin uses."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pytest_onnxprep.artifacts.onnx_model import OnnxModel
from pytest_onnxprep.artifacts.store import Store
from pytest_onnxprep.checks.prepare import build_signature
from pytest_onnxprep.exporters.workshop import Workshop
from pytest_onnxprep.fuzz.example import Maker
from pytest_onnxprep.sources.load import load_source
from pytest_onnxprep.spec.export_request import read_export
from pytest_onnxprep.spec.variant import Variant


class Export:
    """Call it with the arguments of ``onnx_export`` and one exporter."""

    def __init__(self, folder: Path) -> None:
        self.workshop = Workshop(Store(folder / "cache", run_dir=folder / "run"))

    def __call__(
        self,
        model: Any,
        exporter: str | None = None,
        opset: int | None = None,
        *,
        options: Mapping[str, Any] | None = None,
        artifact: Path | None = None,
        domains: tuple[str, ...] = (),
        **arguments: Any,
    ) -> OnnxModel:
        source = load_source(model)
        signature = build_signature(source, read_export(model, **arguments))
        variant = Variant(exporter, opset, options or {})
        return self.workshop.export(source, signature, variant, domains=domains, artifact=artifact)

    @staticmethod
    def inputs(model: OnnxModel) -> dict[str, list[Any]]:
        """Input name -> dims, as the file has them."""
        return {value.name: _dims(value) for value in model.graph_proto.graph.input}

    @staticmethod
    def outputs(model: OnnxModel) -> dict[str, list[Any]]:
        """Output name -> dims, as the file has them."""
        return {value.name: _dims(value) for value in model.graph_proto.graph.output}

    @staticmethod
    def agrees(model: OnnxModel, **sizes: int) -> None:
        """The file and the model give the same at these sizes."""
        maker = Maker(model.signature)
        feeds = maker.feeds(maker.plain({**model.signature.trace_sizes(), **sizes}))
        found, expected = model.run(feeds), model.reference(feeds)

        assert list(found) == list(expected)
        for name, array in expected.items():
            np.testing.assert_allclose(found[name], array, atol=1e-5, err_msg=name)
            assert found[name].shape == array.shape


def _dims(value: Any) -> list[Any]:
    return [dim.dim_value if dim.HasField("dim_value") else dim.dim_param for dim in value.type.tensor_type.shape.dim]


@pytest.fixture
def export(tmp_path):
    """Exports into a cache of this test's own."""
    return Export(tmp_path)
