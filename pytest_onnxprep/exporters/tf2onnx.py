"""tf2onnx, for Keras 3 models, ``tf.function`` and SavedModels. Opset 9 to 18.

Always through a concrete function: ``from_keras`` breaks on Keras 3 Sequential models, and outputs keep their
names only when they are returned as a dict.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, cast

from pytest_onnxprep.artifacts.onnx_model import opset_of, tensor_bytes
from pytest_onnxprep.errors import SourceError
from pytest_onnxprep.exporters import tf2onnx_tfjs, tf2onnx_tflite
from pytest_onnxprep.exporters.contract import unknown_nodes
from pytest_onnxprep.exporters.job import EXTERNAL_DATA_BYTES, ExportJob
from pytest_onnxprep.exporters.onnx_names import rename
from pytest_onnxprep.exporters.tensorflow_handlers import bfloat16_kept, handlers, without_xla
from pytest_onnxprep.exporters.unsupported import Operator, UnsupportedOperatorsError, merged
from pytest_onnxprep.sources.keras_model import KerasSource
from pytest_onnxprep.sources.tensorflow_function import TfFunctionSource
from pytest_onnxprep.sources.tensorflow_trace import layer_of, layers_of, lines_of

#: What TensorFlow takes as the name of a node.
_NODE_NAME = re.compile(r"[A-Za-z0-9.][A-Za-z0-9_.\\/>-]*")

_RESERVED = frozenset({"function", "input_signature", "opset", "output_path"})


def export(job: ExportJob) -> None:
    """Write ``job.path``. Raises whatever tf2onnx raises; the caller turns it into an `ExportFailed`."""
    import tensorflow as tf

    try:
        import tf2onnx
    except ImportError as error:
        raise SourceError(
            f"exporter 'tf2onnx' needs {error.name}: pip install 'pytest-onnxprep[tensorflow]'"
        ) from error
    if job.source.framework == "tflite":
        _save(tf2onnx_tflite.convert(job), job.path)
        return
    if job.source.framework == "tfjs":
        _save(tf2onnx_tfjs.convert(job), job.path)
        return
    options = job.options_for(tf2onnx.convert.from_function, _RESERVED)
    options["custom_op_handlers"] = {**handlers(), **(options.get("custom_op_handlers") or {})}
    source = cast("KerasSource | TfFunctionSource", job.source)
    names = list(job.signature.inputs)
    declared = [
        tf.TensorSpec([int(str(dim)) if dim.is_static else None for dim in spec.shape], spec.dtype, name=name)
        for name, spec in zip(_node_names(names), job.signature.inputs.values(), strict=True)
    ]

    def flat(*tensors: Any) -> dict[str, Any]:
        outputs = source.call(dict(zip(names, tensors, strict=True)))
        return dict(source.named(outputs, job.signature))

    # autograph=False: the user's own tf.functions convert themselves, and ours has nothing to convert.
    function = tf.function(flat, input_signature=declared, autograph=False)
    concrete = function.get_concrete_function()
    frozen = _Frozen(concrete, len(declared))
    with without_xla(), bfloat16_kept():
        model, _ = tf2onnx.convert.from_function(frozen, input_signature=declared, opset=job.variant.opset, **options)
    _refuse_leftovers(model, concrete, source)
    _restore_names(model.graph, model.graph.input, dict(zip(_node_names(names), names, strict=True)))
    _restore_names(model.graph, model.graph.output, {name: name for name in job.output_names})
    _save(model, job.path)


def _refuse_leftovers(model: Any, concrete: Any, source: Any) -> None:
    """Tell of the operators that tf2onnx left as they were, which it only logs.

    Raises:
        UnsupportedOperatorsError: with the layers and lines they come from.
    """
    nodes = unknown_nodes(model)
    if not nodes:
        return
    lines, layers = lines_of(concrete), layers_of(source.model)
    found = []
    for node in nodes:
        layer, kind = layer_of(node.name, layers)
        found.append(Operator(node.op_type, f"'{layer}' ({kind})" if layer else "", lines.get(node.name, "")))
    listed = ", ".join(f"{operator.name} ({operator.count}x)" for operator in merged(found))
    raise UnsupportedOperatorsError(
        f"tf2onnx left operators in the graph that ONNX opset {opset_of(model)} does not have: {listed}", found
    )


def _save(model: Any, path: Path) -> None:
    import onnx

    large = sum(map(tensor_bytes, model.graph.initializer)) > EXTERNAL_DATA_BYTES
    onnx.save(model, str(path), save_as_external_data=large, location=f"{path.name}.data" if large else None)


class _Frozen:
    """A traced function that names its declared inputs only.

    Constants made outside are inputs of the traced function too. TensorFlow's freezing puts their values into the
    graph, but tf2onnx takes the names of the inputs before that, and makes inputs of the ONNX graph of them.
    """

    def __init__(self, concrete: Any, declared: int) -> None:
        self._concrete = concrete
        self._declared = declared

    def get_concrete_function(self, *_: Any) -> Any:
        """What tf2onnx asks a ``tf.function`` for."""
        return self

    @property
    def inputs(self) -> list[Any]:
        """The declared inputs, without captured constants."""
        return list(self._concrete.inputs[: self._declared])

    def __getattr__(self, name: str) -> Any:
        return getattr(self._concrete, name)


def _node_names(names: list[str]) -> list[str]:
    """The inputs' names as far as TensorFlow takes them."""
    return [name if _NODE_NAME.fullmatch(name) else f"input_{index}" for index, name in enumerate(names)]


def _restore_names(graph: Any, values: Any, wanted: dict[str, str]) -> None:
    """Put inputs or outputs into the declared order (a dict comes back sorted by name) under the declared names."""
    by_name = {value.name.split(":")[0]: value for value in values}
    if set(by_name) != set(wanted):
        return  # the contract check will say what is missing
    renames = {by_name[found].name: name for found, name in wanted.items() if by_name[found].name != name}
    copies = []
    for found, name in wanted.items():
        copy = type(by_name[found])()
        copy.CopyFrom(by_name[found])
        copy.name = name
        copies.append(copy)
    del values[:]
    values.extend(copies)
    if renames:
        rename(graph, renames)
