"""tf2onnx on TensorFlow.js graph models."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
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
    found = {end: _tensor(source.ends("inputs")[end]["name"]) for end in own}
    natural = [(name, _tensor(end["name"])) for name, end in source.ends("outputs").items()]
    renamed = {found[known]: name for known, name in zip(order, declared, strict=True)}
    named = name_outputs(natural, job.signature, source.label)
    asked = Layout.of(job.variant.options)
    options[INPUTS] = [value for value, name in renamed.items() if name in asked.inputs]
    options[OUTPUTS] = [value for name, value in named if name in asked.outputs]
    convert_common: Any = tf2onnx.convert._convert_common  # what the command line calls; there is no from_tfjs
    with mock.patch.object(np, "product", np.prod, create=True), _whole_nodes():  # the former is gone from NumPy 2
        model, _ = convert_common(
            None,
            name=source.model.parent.name,
            tfjs_path=str(source.model),
            opset=job.variant.opset,
            input_names=[_tensor(end["name"]) for end in source.ends("inputs").values()],
            output_names=[_tensor(end["name"]) for end in source.ends("outputs").values()],
            continue_on_error=True,
            **options,
        )
    rename_ends(model.graph, renamed, [(value, name) for name, value in named])
    return model


def _tensor(name: str) -> str:
    """The first output of a node may stand under the node's name alone."""
    return name if ":" in name else f"{name}:0"


@contextmanager
def _whole_nodes() -> Iterator[None]:
    """Fill in the attributes that the TensorFlow of the file did not know, or left out as they were the usual ones."""
    from tensorflow.core.framework import types_pb2
    from tensorflow.python.framework import op_def_registry
    from tf2onnx import tfjs_utils

    original = tfjs_utils.tfjs_node_to_tf_node_def

    def whole(node: Any) -> Any:
        made = original(node)
        operator = op_def_registry.get(made.op)
        for attribute in operator.attr if operator is not None else ():
            if attribute.name in made.attr:
                continue
            if attribute.name == "TArgs":  # of fused convolutions: the types of what is added
                count = made.attr["num_args"].i if "num_args" in made.attr else 0
                made.attr["TArgs"].list.type.extend([made.attr["T"].type or types_pb2.DT_FLOAT] * count)
            elif attribute.HasField("default_value"):
                made.attr[attribute.name].CopyFrom(attribute.default_value)
        return made

    outputs_of = tfjs_utils.get_output_names_and_dtypes

    def with_usual_types(operator: str, attributes: dict[str, Any], inputs: Any) -> Any:
        known = op_def_registry.get(operator)
        usual = {attr.name: attr.default_value.type for attr in known.attr if attr.type == "type"} if known else {}
        return outputs_of(operator, {**{name: kind for name, kind in usual.items() if kind}, **attributes}, inputs)

    types = mock.patch.object(tfjs_utils, "get_output_names_and_dtypes", with_usual_types)
    with mock.patch.object(tfjs_utils, "tfjs_node_to_tf_node_def", whole), types:
        yield
