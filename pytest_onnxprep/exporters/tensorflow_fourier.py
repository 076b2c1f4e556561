"""Fourier transforms of real signals for tf2onnx 1.17, which has those alone whose every consumer takes the magnitude.

ONNX has no complex tensors in its operators. But what models make of a spectrum is its magnitude, its real or its
imaginary part, at once or after a change of shape; so that part takes the spectrum's place, as a product with the
cosines and sines of the discrete transform.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

#: What becomes of a spectrum -> the part of it that is needed. A cast to a real type drops the imaginary part.
_PARTS = {"ComplexAbs": "magnitude", "Real": "real", "Cast": "real", "Imag": "imaginary"}
_SAME_VALUES = frozenset({"ExpandDims", "Identity", "Reshape", "Squeeze", "StridedSlice", "Transpose", "Unsqueeze"})


def fourier_handlers() -> dict[str, tuple[Any, list[Any]]]:
    """For ``custom_op_handlers``."""
    return {"RFFT": (_rfft, []), "RFFT2D": (_rfft, [])}


def _rfft(context: Any, node: Any, name: str, _: Any) -> Any:
    """``tf.signal.rfft``; also LiteRT's two-dimensional one where the first length is 1, which is the same.

    Raises:
        ValueError: it has no translation, and why.
    """
    length = _length(node, name)
    taken = context.get_shape(node.input[0])
    if taken is None or taken[-1] is None or taken[-1] < 0:
        raise ValueError(f"{name}: a Fourier transform of a signal whose length is dynamic has no translation")
    chain = list(_chain(context, node.output[0]))
    parts = {_PARTS.get(consumer.type, consumer.type) for consumer in chain if consumer.type not in _SAME_VALUES}
    if len(parts) != 1 or not parts <= set(_PARTS.values()):
        raise ValueError(
            f"{name}: of a spectrum one of magnitude (abs), real or imaginary part can be taken; here {sorted(parts)}"
        )
    data, output, (part,) = node.input[0], node.output[0], parts
    kind, shape = context.get_dtype(data), context.get_shape(output)
    context.remove_node(node.name)
    cosines, sines = _waves(taken[-1], length)

    def apply(op: str, *inputs: str, **given: Any) -> str:
        made: str = context.make_node(op, list(inputs), op_name_scope=name, **given).output[0]
        return made

    def along(waves: np.ndarray, label: str) -> str:
        from tf2onnx import utils

        values = waves.astype(utils.map_onnx_to_numpy_type(kind))
        return apply("MatMul", data, context.make_const(utils.make_name(f"{name}_{label}"), values).output[0])

    last = {"outputs": [output], "name": name, "shapes": [shape], "dtypes": [kind]}
    for consumer in chain:
        _make_real(context, consumer, kind)
    if part == "magnitude":
        real, imaginary = along(cosines, "cosines"), along(sines, "sines")
        power = apply("Add", apply("Mul", real, real), apply("Mul", imaginary, imaginary))
        return context.make_node("Sqrt", [power], **last)
    found = along(cosines, "cosines") if part == "real" else along(sines, "sines")
    return context.make_node("Identity", [found], **last)


def _length(node: Any, name: str) -> int:
    given = node.inputs[1]
    if not given.is_const():
        raise ValueError(f"{name}: a Fourier transform of a length that is computed has no translation")
    *before, length = np.ravel(given.get_tensor_value(as_list=False)).tolist()
    if any(other != 1 for other in before):
        raise ValueError(f"{name}: a two-dimensional Fourier transform ({[*before, length]}) has no translation")
    return int(length)


def _chain(context: Any, output: str) -> Iterator[Any]:
    """What takes a spectrum, through changes of shape."""
    for consumer in context.find_output_consumers(output):
        yield consumer
        if consumer.type in _SAME_VALUES:
            yield from _chain(context, consumer.output[0])


def _make_real(context: Any, consumer: Any, kind: int) -> None:
    """Let a node take, and give, the part in place of the spectrum."""
    if consumer.type in ("ComplexAbs", "Real", "Imag"):
        consumer.type = "Identity"
        for attribute in list(consumer.attr):
            del consumer.attr[attribute]
        consumer.skip_conversion = True
    for place in range(len(consumer.output)):
        if consumer.type != "Cast":
            context.set_dtype(consumer.output[place], kind)


def _waves(taken: int, length: int) -> tuple[np.ndarray, np.ndarray]:
    """Cosines and sines ``[taken, length // 2 + 1]``; what is beyond the length counts for nothing."""
    angles = -2 * np.pi * np.outer(np.arange(taken), np.arange(length // 2 + 1)) / length
    inside = (np.arange(taken) < length)[:, None]
    return np.cos(angles) * inside, np.sin(angles) * inside
