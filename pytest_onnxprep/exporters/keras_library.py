"""Keras's own ``model.export(format="onnx")``, on whichever backend Keras runs.

Its inputs and outputs are named by Keras; they get the declared names afterwards. On TensorFlow it is tf2onnx
(opset 9 to 18), on JAX jax2onnx, on PyTorch the TorchScript tracer, which writes a recurrent layer out for the length
of the example.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator, Mapping
from typing import Any, cast
from unittest import mock

import numpy as np

from pytest_onnxprep.errors import ExporterError
from pytest_onnxprep.exporters.job import ExportJob
from pytest_onnxprep.exporters.onnx_names import rename_ends
from pytest_onnxprep.exporters.tensorflow_handlers import bfloat16_kept, handlers, without_xla
from pytest_onnxprep.sources.keras_model import KerasSource

#: What Keras calls ends here on each backend.
_LAST_OPSET = {"tensorflow": 18, "torch": 23, "jax": 25}
_RESERVED = frozenset({"self", "filepath", "format", "input_signature", "opset_version", "verbose", "model"})


def export(job: ExportJob) -> None:
    """Write ``job.path``. Raises whatever Keras raises; the caller turns it into an `ExportFailed`."""
    import keras
    import onnx
    from keras.src.export.onnx import export_onnx

    source = cast(KerasSource, job.source)
    options = job.options_for(export_onnx, _RESERVED)
    last = _LAST_OPSET.get(keras.backend.backend(), 0)
    if (job.variant.opset or 0) > last:
        raise ExporterError(
            f"exporter 'keras' on the {keras.backend.backend()} backend does not produce opset {job.variant.opset}; "
            f"accepted: up to {last}"
        )
    names = list(job.signature.inputs)
    outputs = source.call({name: keras.ops.convert_to_tensor(job.feeds[name]) for name in names})  # Keras asks for it
    specs = [
        keras.InputSpec(
            shape=[int(str(dim)) if dim.is_static else None for dim in spec.shape],
            dtype=spec.dtype,
            name=f"input_{index}",
        )
        for index, spec in enumerate(job.signature.inputs.values())
    ]
    packed = source.packed(dict(zip(names, specs, strict=True)))
    with (
        _translating_more(),
        _traced_with({spec.name: job.feeds[name] for name, spec in zip(names, specs, strict=True)}),
    ):
        source.model.export(
            str(job.path),
            format="onnx",
            verbose=False,
            input_signature=[packed],
            **({} if job.variant.opset is None else {"opset_version": job.variant.opset}),
            **options,
        )
    proto = onnx.load(str(job.path), load_external_data=False)
    order = [next(n for n, own in zip(names, specs, strict=True) if own is spec) for spec in keras.tree.flatten(packed)]
    found = [value.name for value in proto.graph.input][: len(order)]
    places = _output_places(keras.tree.flatten(outputs), source.named(outputs, job.signature))
    if len(found) == len(order) and len(proto.graph.output) == len(keras.tree.flatten(outputs)):
        by_name = dict(zip(order, found, strict=True))
        rename_ends(
            proto.graph,
            {by_name[name]: name for name in names},
            [(proto.graph.output[place].name, name) for name, place in places],
        )
        onnx.save(proto, str(job.path))


@contextlib.contextmanager
def _translating_more() -> Iterator[None]:
    """On TensorFlow, let Keras call tf2onnx with our translations."""
    import keras

    if keras.backend.backend() != "tensorflow":
        yield
        return
    import tf2onnx

    convert = functools.partial(tf2onnx.convert.from_function, custom_op_handlers=handlers())
    with mock.patch.object(tf2onnx.convert, "from_function", convert), without_xla(), bfloat16_kept():
        yield


@contextlib.contextmanager
def _traced_with(examples: Mapping[str, np.ndarray]) -> Iterator[None]:
    """On PyTorch, trace with our examples: Keras puts 1 in place of every open size, which few convolutions take."""
    import keras

    if keras.backend.backend() != "torch":
        yield
        return
    from keras.src.export import onnx as library

    made = library.convert_spec_to_tensor

    def example(spec: Any, *args: Any, **options: Any) -> Any:
        array = examples.get(spec.name)
        return made(spec, *args, **options) if array is None else keras.ops.convert_to_tensor(array)

    with mock.patch.object(library, "convert_spec_to_tensor", example):
        yield


def _output_places(flat: list[Any], named: list[tuple[str, Any]]) -> list[tuple[str, int]]:
    """Where Keras lists each named output: it sorts the keys of a dict."""
    places = []
    for name, tensor in named:
        place = next((index for index, value in enumerate(flat) if value is tensor), None)
        if place is not None:
            places.append((name, place))
    return places
