"""Transformers' own exporter (``transformers.exporters``, 5.x), which adds ONNX Runtime fusions to torch's."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any

from pytest_onnxprep.errors import ExporterError, SourceError
from pytest_onnxprep.exporters.dynamo import rnn_decompositions
from pytest_onnxprep.exporters.job import ExportJob
from pytest_onnxprep.exporters.torch_common import modes_kept

_RESERVED = frozenset({"self", "dynamic", "opset_version"})


def export(job: ExportJob) -> None:
    """Write ``job.path``. Raises whatever the library raises; the caller turns it into an `ExportFailed`."""
    try:
        from transformers.exporters import OnnxConfig, OnnxExporter
    except ImportError as error:
        raise SourceError(
            f"exporter 'transformers' needs transformers >= 5 with its exporters: {error}; "
            "pip install 'pytest-onnxprep[transformers]', or use exporter='dynamo'"
        ) from error
    import torch

    if any(name.startswith("past_key_values.") for name in job.signature.inputs):
        raise ExporterError(
            "exporter 'transformers' does not take a cache as flat inputs; use exporter='dynamo' or 'torchscript'"
        )
    options = job.options_for(OnnxConfig.__init__, _RESERVED)
    inputs = {name: torch.tensor(array) for name, array in job.feeds.items()}
    with modes_kept(job.source.model), torch.no_grad(), rnn_decompositions():
        config = OnnxConfig(dynamic=True, opset_version=job.variant.opset, **options)
        program = OnnxExporter().export(job.source.model, inputs, config=config)
    _save(program, job.path)


def _save(program: Any, path: Path) -> None:
    """``save_pretrained`` writes a folder of several files; only the graph and its data are ours."""
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        program.save_pretrained(folder)
        files = sorted(Path(folder).rglob("model.onnx*"))
        for file in files:
            shutil.move(str(file), path.parent / file.name)
