"""What TensorFlow and Keras compute on the way: every tensor of the traced, frozen function."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from pytest_onnxprep.sources.trace import Digest, Limits, Trace, Traced, digest, first_user_frame

#: Tensors fetched by one run of the graph.
_TOGETHER = 200
_TOGETHER_LARGE = 24
_LARGE_INPUT_BYTES = 4_000_000
#: What Keras appends to a layer's name in a graph.
_NUMBER = re.compile(r"_\d+$")


def trace(source: Any, feeds: Any, signature: Any, limits: Limits) -> Trace:
    """Run the model's graph and record it. The caller keeps and restores the model's state.

    Args:
        source: a `KerasSource` or a `TfFunctionSource`.
        feeds: its inputs.
        signature: names the outputs.
        limits: when recording ends.
    """
    import tensorflow as tf
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    deadline = time.monotonic() + limits.max_s
    names = list(feeds)
    arrays = [np.asarray(feeds[name]) for name in names]
    declared = [tf.TensorSpec(array.shape, array.dtype) for array in arrays]

    def flat(*tensors: Any) -> dict[str, Any]:
        outputs = source.call(dict(zip(names, tensors, strict=True)))
        return {f"output_{index}": tensor for index, (_, tensor) in enumerate(source.named(outputs, signature))}

    concrete = tf.function(flat, input_signature=declared, autograph=False).get_concrete_function()
    frozen = convert_variables_to_constants_v2(concrete, lower_control_flow=False)
    layers = layers_of(source.model)
    lines = lines_of(concrete)
    values = [*_weights(source.model)]
    places: dict[str, int] = {}
    for name, array in zip(names, arrays, strict=True):
        found = digest(array)
        if found is not None:
            values.append(Traced(found, "input", name))
    for tensor, name in zip(frozen.inputs, names, strict=False):
        places[tensor.name] = next((i for i, value in enumerate(values) if value.name == name), 0)
    tensors = [tensor for op in frozen.graph.get_operations() for tensor in op.outputs if _can_be_fetched(tensor, op)]
    kept, why = 0, ""
    whole: dict[int, np.ndarray] = {}
    together = _TOGETHER_LARGE if sum(array.nbytes for array in arrays) > _LARGE_INPUT_BYTES else _TOGETHER
    fed = [tf.convert_to_tensor(array) for array in arrays][: len(frozen.inputs)]
    for start in range(0, len(tensors), together):
        if time.monotonic() > deadline or kept > limits.max_bytes:
            why = "the framework's trace ran out of time or memory"
            break
        chunk = tensors[start : start + together]
        for tensor, result in zip(chunk, frozen.prune(frozen.inputs, chunk)(*fed), strict=True):
            made = digest(np.asarray(result))
            if made is None:
                continue
            places[tensor.name] = len(values)
            if len(values) in limits.keep:
                whole[len(values)] = np.asarray(result)
            kept += made.sample.nbytes
            values.append(_traced(tensor, made, layers, lines, places))
    return Trace(tuple(values), not why, why, whole)


def _traced(
    tensor: Any, made: Digest, layers: Mapping[str, str], lines: Mapping[str, str], places: Mapping[str, int]
) -> Traced:
    op = tensor.op
    layer, kind = layer_of(op.name, layers)
    inputs = tuple(places[source.name] for source in op.inputs if source.name in places)
    operator = "weight" if op.type == "Const" else op.type
    return Traced(made, operator, tensor.name, layer, kind, lines.get(op.name, ""), inputs)


def layer_of(operation: str, layers: Mapping[str, str]) -> tuple[str, str]:
    """The innermost layer that an operation's name lies in: its path and its class; empty strings outside of all.

    Args:
        operation: such as ``functional_1/spec_1/Svd``.
        layers: name of a layer -> its class.
    """
    layer, kind = "", ""
    scopes = operation.split("/")
    for depth, scope in enumerate(scopes):
        name = scope if scope in layers else _NUMBER.sub("", scope)
        if name in layers:
            path = [_NUMBER.sub("", part) if part not in layers else part for part in scopes[: depth + 1]]
            layer, kind = "/".join(part for part in path if part in layers), layers[name]
    return layer, kind


def _can_be_fetched(tensor: Any, op: Any) -> bool:
    return tensor.dtype.name not in ("resource", "variant", "string") and op.type not in ("Placeholder", "NoOp")


def _weights(model: Any) -> Iterator[Traced]:
    for variable in getattr(model, "variables", None) or ():
        made = None
        with suppress(Exception):
            made = digest(np.asarray(variable))
        if made is not None:
            yield Traced(made, "weight", str(getattr(variable, "path", variable.name)))


def layers_of(model: Any) -> dict[str, str]:
    """Name of a layer -> its class; none outside Keras."""
    flatten = getattr(model, "_flatten_layers", None)
    return {layer.name: type(layer).__name__ for layer in flatten()} if flatten is not None else {}


def lines_of(concrete: Any) -> dict[str, str]:
    """Name of an operation -> the user's line that made it, where Python saw it being made."""
    import keras
    import tensorflow as tf

    foreign = tuple(str(Path(module.__file__).parent) for module in (tf, keras) if module.__file__)
    return dict(_lines_of(concrete.graph, "", foreign))


def _lines_of(graph: Any, prefix: str, foreign: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    """The lines of a graph and of the functions it calls, under the names they get once they are inlined."""
    for op in graph.get_operations():
        with suppress(Exception):
            frames = [(frame.filename, frame.lineno) for frame in reversed(list(op.traceback))]
            yield f"{prefix}{op.name}", first_user_frame(frames, foreign)
        if op.type in ("PartitionedCall", "StatefulPartitionedCall"):
            inner = None
            with suppress(Exception):  # private to TensorFlow: without it the lines of functions are not known
                inner = graph._get_function(op.get_attr("f").name).graph
            if inner is not None:
                yield from _lines_of(inner, f"{prefix}{op.name}/", foreign)
