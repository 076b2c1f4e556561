"""tf2onnx on ``.tflite`` files, with what its own route leaves out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from pytest_onnxprep.exporters.onnx_names import rename_ends

if TYPE_CHECKING:
    from pytest_onnxprep.exporters.job import ExportJob
    from pytest_onnxprep.sources.tflite_file import TfliteSource

_RESERVED = frozenset({"tflite_path", "opset", "output_path", "input_names", "output_names"})


def convert(job: ExportJob) -> Any:
    """The ONNX model of a file, its inputs and outputs under the names of the signature."""
    import tf2onnx

    source = cast("TfliteSource", job.source)
    options = job.options_for(tf2onnx.convert.from_tflite, _RESERVED)
    model, _ = tf2onnx.convert.from_tflite(str(source.model), opset=job.variant.opset, **options)
    layout = source.layout
    names = source.ordered({name: name for name in job.signature.inputs})
    inputs = {layout.tensors[layout.inputs[own]].name: name for own, name in names.items()}
    chosen = source.named({name: layout.tensors[index].name for name, index in layout.outputs.items()}, job.signature)
    order = {name: found for found, name in inputs.items()}
    rename_ends(
        model.graph,
        {order[name]: name for name in job.signature.inputs},
        [(found, name) for name, found in chosen],
    )
    return model
