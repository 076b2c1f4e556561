"""One copy of a large model's weights for both sides of a comparison.

The framework holds its weights in memory. ONNX Runtime would hold them a second time: two gigabytes more for a model of
two gigabytes. Where the bytes in the file are those of the framework's tensor, which is read and compared here byte by
byte, ONNX Runtime is given the framework's own memory instead.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from pytest_onnxprep.sources.base import Source

#: Smaller tensors are not worth the trouble.
LEAST_BYTES = 1 << 20
_CHUNK = 1 << 23


def shared_weights(path: Path, proto: Any, source: Source) -> dict[str, np.ndarray]:
    """Initializers whose bytes are those of a tensor that the framework holds, by name.

    Args:
        path: the ONNX file.
        proto: its ``ModelProto`` without external data.
        source: the framework's model.
    """
    candidates: dict[tuple[str, tuple[int, ...]], list[tuple[str, np.ndarray]]] = {}
    for name, array in source.held_weights():
        if array.nbytes >= LEAST_BYTES:
            candidates.setdefault((array.dtype.name, array.shape), []).append((name, array))
    found = {}
    for tensor, dtype in _stored_outside(proto):
        near = candidates.get((dtype, tuple(tensor.dims)), [])
        # Converters mostly keep the name, with something before it.
        for _, array in sorted(near, key=lambda pair: not tensor.name.endswith(pair[0])):
            if _equal(path.parent, tensor, array):
                found[tensor.name] = array
                break
    return found


def _stored_outside(proto: Any) -> Iterator[tuple[Any, str]]:
    import onnx

    for tensor in proto.graph.initializer:
        if tensor.external_data:
            yield tensor, onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type).name


def _equal(folder: Path, tensor: Any, array: np.ndarray) -> bool:
    """Whether a tensor's bytes in the file are those of an array, read piece by piece."""
    stored = {entry.key: entry.value for entry in tensor.external_data}
    if int(stored.get("length") or array.nbytes) != array.nbytes:
        return False
    data = array.reshape(-1).view(np.uint8)
    buffer = np.empty(_CHUNK, np.uint8)
    with (folder / stored["location"]).open("rb") as file:
        file.seek(int(stored.get("offset") or 0))
        for start in range(0, data.size, _CHUNK):
            part = data[start : start + _CHUNK]
            piece = buffer[: part.size]
            if file.readinto(piece.data) != part.size or not np.array_equal(piece, part):
                return False
    return True
