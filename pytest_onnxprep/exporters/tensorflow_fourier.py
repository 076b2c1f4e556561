"""Fourier transforms of real signals for tf2onnx 1.17, which has those alone whose magnitude is taken at once.

ONNX has no complex tensors in its operators. But what models make of a spectrum is its magnitude, its real or its
imaginary part, at once or after a change of shape; so that part takes the spectrum's place, as a product with the
cosines and sines of the discrete transform.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import numpy as np

#: What becomes of a spectrum -> the part of it that is needed. A cast to a real type drops the imaginary part.
_PARTS = {"ComplexAbs": "magnitude", "Real": "real", "Cast": "real", "Imag": "imaginary"}
_SAME_VALUES = frozenset({"ExpandDims", "Identity", "Reshape", "Squeeze", "StridedSlice", "Transpose", "Unsqueeze"})


def fourier_handlers() -> dict[str, tuple[Any, list[Any]]]:
    """For ``custom_op_handlers``."""
    return {"RFFT": (_rfft, []), "RFFT2D": (_rfft, [])}


def _rfft(context: Any, node: Any, name: str, _: Any) -> None:
    """``tf.signal.rfft``; also LiteRT's two-dimensional one where the first length is 1, which is the same.

    Raises:
        ValueError: it has no translation, and why.
    """
    length = _length(node, name)
    data, output = node.input[0], node.output[0]
    taken, kind, shape = context.get_shape(data), context.get_dtype(data), context.get_shape(output)
    if taken is None or taken[-1] is None or taken[-1] < 0:
        raise _refused(f"{name}: a Fourier transform of a signal whose length is dynamic has no translation")
    branches = [(consumer, _part(context, consumer, name)) for consumer in context.find_output_consumers(output)]
    context.remove_node(node.name)
    waves = dict(zip(("real", "imaginary"), _waves(taken[-1], length), strict=True))
    made: dict[str, str] = {}

    def apply(op: str, *inputs: str) -> str:
        result = context.make_node(op, list(inputs), op_name_scope=name).output[0]
        context.set_dtype(result, kind)
        context.set_shape(result, shape)
        return str(result)

    def tensor(part: str) -> str:
        from tf2onnx import utils

        if part == "magnitude":
            powers = [apply("Mul", tensor(one), tensor(one)) for one in waves]
            return apply("Sqrt", apply("Add", *powers))
        if part not in made:
            values = waves[part].astype(utils.map_onnx_to_numpy_type(kind))
            made[part] = apply("MatMul", data, context.make_const(utils.make_name(f"{name}_{part}"), values).output[0])
        return made[part]

    for consumer, part in branches:
        context.replace_input(consumer, output, tensor(part))
        _make_real(context, consumer, kind)


def _length(node: Any, name: str) -> int:
    given = node.inputs[1]
    if not given.is_const():
        raise _refused(f"{name}: a Fourier transform of a length that is computed has no translation")
    *before, length = np.ravel(given.get_tensor_value(as_list=False)).tolist()
    if any(other != 1 for other in before):
        raise _refused(f"{name}: a two-dimensional Fourier transform ({[*before, length]}) has no translation")
    return int(length)


def _part(context: Any, consumer: Any, name: str) -> str:
    """The part of the spectrum that a consumer needs, itself or through changes of shape."""
    parts: set[str] = {_PARTS.get(end.type, end.type) for end in _ends(context, consumer)}
    if len(parts) != 1 or not parts <= set(_PARTS.values()):
        raise _refused(f"{name}: of a spectrum magnitude, real or imaginary part can be taken, not {sorted(parts)}")
    (part,) = parts
    return part


def _ends(context: Any, consumer: Any) -> Iterator[Any]:
    if consumer.type not in _SAME_VALUES:
        yield consumer
        return
    for further in context.find_output_consumers(consumer.output[0]):
        yield from _ends(context, further)


def _make_real(context: Any, consumer: Any, kind: int) -> None:
    """Let a node take, and give, the part in place of the spectrum."""
    if consumer.type in _SAME_VALUES:
        for further in context.find_output_consumers(consumer.output[0]):
            _make_real(context, further, kind)
    elif consumer.type != "Cast":
        consumer.type = "Identity"
        for attribute in list(consumer.attr):
            del consumer.attr[attribute]
        consumer.skip_conversion = True
    if consumer.type != "Cast":
        context.set_dtype(consumer.output[0], kind)


def _refused(why: str) -> ValueError:
    """What tf2onnx makes of an error is a line in its log without the words of the error."""
    logging.getLogger("tf2onnx").error(why)
    return ValueError(why)


def _waves(taken: int, length: int) -> tuple[np.ndarray, np.ndarray]:
    """Cosines and sines ``[taken, length // 2 + 1]``; what is beyond the length counts for nothing."""
    angles = -2 * np.pi * np.outer(np.arange(taken), np.arange(length // 2 + 1)) / length
    inside = (np.arange(taken) < length)[:, None]
    return np.cos(angles) * inside, np.sin(angles) * inside
