"""tf2onnx on TensorFlow.js graph models."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast
from unittest import mock

import numpy as np

from pytest_onnxprep.exporters.onnx_names import rename_ends
from pytest_onnxprep.exporters.tensorflow_handlers import handlers
from pytest_onnxprep.sources.base import name_outputs
from pytest_onnxprep.sources.turned import unturned
from pytest_onnxprep.spec.layout import INPUTS, OUTPUTS, Layout

if TYPE_CHECKING:
    from pytest_onnxprep.exporters.job import ExportJob
    from pytest_onnxprep.sources.tfjs_model import TfjsSource

_RESERVED = frozenset({"tfjs_path", "opset", "output_path", "input_names", "output_names", "frozen_graph", "name"})


def convert(job: ExportJob) -> Any:
    """The ONNX model of a ``model.json``, its inputs and outputs under the names of the signature."""
    import tf2onnx

    source = cast("TfjsSource", unturned(job.source))
    options = job.options_for(tf2onnx.tfonnx.process_tf_graph, _RESERVED)
    options["custom_op_handlers"] = {**handlers(), **(options.get("custom_op_handlers") or {})}
    own = list(source.ends("inputs"))
    declared = list(job.signature.inputs)
    order = declared if set(declared) == set(own) else own
    found = {end: source.ends("inputs")[end]["name"] for end in own}
    natural = [(name, end["name"]) for name, end in source.ends("outputs").items()]
    renamed = {found[known]: name for known, name in zip(order, declared, strict=True)}
    named = name_outputs(natural, job.signature, source.label)
    asked = Layout.of(job.variant.options)
    options[INPUTS] = [value for value, name in renamed.items() if name in asked.inputs]
    options[OUTPUTS] = [value for name, value in named if name in asked.outputs]
    convert_common: Any = tf2onnx.convert._convert_common  # what the command line calls; there is no from_tfjs
    with mock.patch.object(np, "product", np.prod, create=True):  # gone from NumPy 2
        model, _ = convert_common(
            None,
            name=source.model.parent.name,
            tfjs_path=str(source.model),
            opset=job.variant.opset,
            input_names=[end["name"] for end in source.ends("inputs").values()],
            output_names=[end["name"] for end in source.ends("outputs").values()],
            continue_on_error=True,
            **options,
        )
    rename_ends(model.graph, renamed, [(value, name) for name, value in named])
    return model
