"""What an operator of `pytest_onnxprep.runtime.double_ops` is told beside its inputs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Call:
    """One node, as it is called.

    Attributes:
        attributes: those given and those with a default in the opset's schema; floats are Python's.
        opset: version of the node's domain.
        outputs: how many outputs the node names.
    """

    attributes: Mapping[str, Any]
    opset: int
    outputs: int = 1

    def get(self, name: str, default: Any) -> Any:
        """An attribute, or ``default`` where it is not there."""
        value = self.attributes.get(name)
        return default if value is None else value

    def flag(self, name: str) -> bool:
        """An integer attribute that is on or off; off where it is not there."""
        return bool(self.get(name, 0))


def one_axis(values: np.ndarray, axis: int, rank: int) -> np.ndarray:
    """A vector shaped to broadcast along one axis of ``rank``."""
    shape = [1] * rank
    shape[axis] = -1
    return values.reshape(shape)


def window_pads(
    call: Call, size: Sequence[int], kernel: Sequence[int], strides: Sequence[int], dilations: Sequence[int]
) -> list[tuple[int, int]]:
    """Padding before and after each spatial axis, ``auto_pad`` worked out."""
    mode = call.get("auto_pad", "NOTSET")
    rank = len(kernel)
    if mode == "NOTSET":
        pads = call.get("pads", [0] * (2 * rank))
        return [(pads[axis], pads[axis + rank]) for axis in range(rank)]
    if mode == "VALID":
        return [(0, 0)] * rank
    found = []
    for length, extent, stride, dilation in zip(size, kernel, strides, dilations, strict=True):
        needed = max(0, (-(-length // stride) - 1) * stride + (extent - 1) * dilation + 1 - length)
        small, large = needed // 2, needed - needed // 2
        found.append((small, large) if mode == "SAME_UPPER" else (large, small))
    return found


def trailing(axes: Iterable[int | slice]) -> Any:
    """An index into the last axes."""
    return (..., *axes)


def padded(x: np.ndarray, pads: Sequence[tuple[int, int]], value: float = 0.0) -> np.ndarray:
    """``x`` with its last axes padded by a constant, or cut where a pad is negative."""
    if not any(before or after for before, after in pads):
        return x
    lead = x.ndim - len(pads)
    shape = (*x.shape[:lead], *(n + a + b for n, (a, b) in zip(x.shape[lead:], pads, strict=True)))
    wide = np.full(shape, value, dtype=x.dtype)
    into = tuple(slice(max(a, 0), m - max(b, 0)) for m, (a, b) in zip(shape[lead:], pads, strict=True))
    out_of = tuple(slice(max(-a, 0), n - max(-b, 0)) for n, (a, b) in zip(x.shape[lead:], pads, strict=True))
    wide[trailing(into)] = x[trailing(out_of)]
    return wide


def taps(position: Sequence[int], count: Sequence[int], strides: Sequence[int], dilations: Sequence[int]) -> Any:
    """An index of the windows' elements at one position of the kernel."""
    starts = [at * dilation for at, dilation in zip(position, dilations, strict=True)]
    return trailing(
        slice(start, start + (n - 1) * stride + 1, stride)
        for start, n, stride in zip(starts, count, strides, strict=True)
    )
