"""Transformers' own exporter (``transformers.exporters``, 5.x), which adds ONNX Runtime fusions to torch's."""

from __future__ import annotations

import re
import shutil
import tempfile
from pathlib import Path
from typing import Any, cast

from pytest_onnxprep.errors import ExporterError, SourceError
from pytest_onnxprep.exporters.dynamo import rnn_decompositions
from pytest_onnxprep.exporters.job import ExportJob
from pytest_onnxprep.exporters.shape_guards import guards_watched
from pytest_onnxprep.sources.base import name_outputs
from pytest_onnxprep.sources.torch_module import from_numpy
from pytest_onnxprep.sources.transformers_model import TransformersSource

#: How the library calls the tensors of a cache.
_CACHE = re.compile(r"past_key_values\.layers\.(\d+)\.(key|value)s")

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
    source = cast(TransformersSource, job.source)
    source.prepare(job.signature)
    device = source.device()
    inputs: dict[str, Any] = {name: from_numpy(array, device) for name, array in job.feeds.items()}
    inputs |= source.flags()
    with torch.no_grad(), rnn_decompositions(), guards_watched(job) as guards:
        config = OnnxConfig(dynamic=True, opset_version=job.variant.opset, **options)
        program = OnnxExporter().export(job.source.model, inputs, config=config)
        guards.note(program)
    _save(program, job.path)
    _name_outputs(job, source)


def _save(program: Any, path: Path) -> None:
    """``save_pretrained`` writes a folder of several files; only the graph and its data are ours."""
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        program.save_pretrained(folder)
        files = sorted(Path(folder).rglob("model.onnx*"))
        for file in files:
            shutil.move(str(file), path.parent / file.name)


def _name_outputs(job: ExportJob, source: TransformersSource) -> None:
    """Keep the outputs that were asked for, in their order and under their names."""
    import onnx

    proto = onnx.load(str(job.path), load_external_data=False)
    natural = [(_CACHE.sub(r"present.\1.\2", value.name), value) for value in proto.graph.output]
    chosen = name_outputs(natural, job.signature, source.label)
    if [(name, value.name) for name, value in chosen] == [(value.name, value.name) for value in proto.graph.output]:
        return
    outputs = []
    for name, value in chosen:
        output = onnx.ValueInfoProto()
        output.CopyFrom(value)
        output.name = name
        outputs.append(output)
        if name != value.name:  # a node more, and no name of the graph is touched
            proto.graph.node.append(onnx.helper.make_node("Identity", [value.name], [name], name=f"output_{name}"))
    del proto.graph.output[:]
    proto.graph.output.extend(outputs)
    onnx.save(proto, str(job.path))
