"""tf2onnx, for Keras 3 models, ``tf.function`` and SavedModels. Opset 9 to 18.

Always through a concrete function: ``from_keras`` breaks on Keras 3 Sequential models, and outputs keep their
names only when they are returned as a dict.
"""

from __future__ import annotations

from typing import Any, cast

from pytest_onnxprep.errors import SourceError
from pytest_onnxprep.exporters.job import ExportJob
from pytest_onnxprep.sources.keras_model import KerasSource
from pytest_onnxprep.sources.tensorflow_function import TfFunctionSource

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
    options = job.options_for(tf2onnx.convert.from_function, _RESERVED)
    source = cast("KerasSource | TfFunctionSource", job.source)
    names = list(job.signature.inputs)
    declared = [
        tf.TensorSpec([int(str(dim)) if dim.is_static else None for dim in spec.shape], spec.dtype, name=name)
        for name, spec in job.signature.inputs.items()
    ]

    def flat(*tensors: Any) -> dict[str, Any]:
        outputs = source.call(dict(zip(names, tensors, strict=True)))
        return dict(source.named(outputs, job.signature))

    # autograph=False: the user's own tf.functions convert themselves, and ours has nothing to convert.
    function = tf.function(flat, input_signature=declared, autograph=False)
    frozen = _Frozen(function.get_concrete_function(), len(declared))
    model, _ = tf2onnx.convert.from_function(frozen, input_signature=declared, opset=job.variant.opset, **options)
    _restore_names(model, names, job.output_names)
    import onnx

    onnx.save(model, str(job.path))


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


def _restore_names(model: Any, inputs: list[str], outputs: list[str]) -> None:
    """Put outputs into the declared order (a dict comes back sorted by name) and inputs likewise."""
    for values, wanted in ((model.graph.input, inputs), (model.graph.output, outputs)):
        by_name = {value.name.split(":")[0]: value for value in values}
        if set(by_name) != set(wanted):
            continue  # the contract check will say what is missing
        ordered = [by_name[name] for name in wanted]
        renames = {value.name: name for name, value in zip(wanted, ordered, strict=True) if value.name != name}
        copies = [type(value)() for value in ordered]
        for copy, value in zip(copies, ordered, strict=True):
            copy.CopyFrom(value)
            copy.name = renames.get(value.name, value.name)
        del values[:]
        values.extend(copies)
        if renames:
            _rename(model.graph, renames)


def _rename(graph: Any, renames: dict[str, str]) -> None:
    for node in graph.node:
        for names in (node.input, node.output):
            for index, name in enumerate(names):
                names[index] = renames.get(name, name)
        for attribute in node.attribute:
            if attribute.HasField("g"):
                _rename(attribute.g, renames)
