"""tf2onnx on ``.tflite`` files, with what its own route leaves out."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from pytest_onnxprep.exporters.onnx_names import rename_ends
from pytest_onnxprep.exporters.tflite_handlers import handlers
from pytest_onnxprep.sources.tflite_rewrite import rewritten, write
from pytest_onnxprep.sources.turned import unturned
from pytest_onnxprep.spec.layout import INPUTS, OUTPUTS, Layout

if TYPE_CHECKING:
    from pytest_onnxprep.exporters.job import ExportJob
    from pytest_onnxprep.sources.tflite_file import TfliteSource

_RESERVED = frozenset({"tflite_path", "opset", "output_path", "input_names", "output_names"})


def convert(job: ExportJob) -> Any:
    """The ONNX model of a file, its inputs and outputs under the names of the signature."""
    import tf2onnx

    source = cast("TfliteSource", unturned(job.source))
    options = job.options_for(tf2onnx.convert.from_tflite, _RESERVED)
    options["custom_op_handlers"] = {**handlers(), **(options.get("custom_op_handlers") or {})}
    form = rewritten(source.model)
    graph, layout = form.subgraphs[0], source.layout
    # Rewriting keeps the order of both ends, and may move an output to another tensor.
    outputs = dict(zip(layout.output_indices, graph.outputs, strict=True))

    def name_of(index: int) -> str:
        name: str = graph.tensors[index].name.decode()
        return name

    own = source.ordered({name: name for name in job.signature.inputs})
    found = {name: name_of(layout.inputs[known]) for known, name in own.items()}
    natural = {name: name_of(int(outputs[index])) for name, index in layout.outputs.items()}
    named = source.named(natural, job.signature)
    asked = Layout.of(job.variant.options)
    options[INPUTS] = [found[name] for name in asked.inputs]
    options[OUTPUTS] = [value for name, value in named if name in asked.outputs]
    with tempfile.TemporaryDirectory(dir=job.path.parent) as folder:
        path = Path(folder) / "model.tflite"
        write(form, path)
        model, _ = tf2onnx.convert.from_tflite(str(path), opset=job.variant.opset, **options)
    rename_ends(
        model.graph,
        {found[name]: name for name in job.signature.inputs},
        [(value, name) for name, value in named],
    )
    return model
