"""What a padding mask hides: the answers at its zeros mean nothing, in the framework or in the file."""

from __future__ import annotations

import numpy as np


def is_hidden(mask: np.ndarray, shape: tuple[int, ...], output: str = "") -> np.ndarray:
    """The elements of an output that stand for padding.

    Outputs of one value per position (``[batch, seq, ...]``) are hidden where the mask is 0; of a mask that also
    covers a past, the last positions count. A cache (``present.0.key``: ``[batch, heads, positions, width]``) holds
    what was said at every position, padding too. Other outputs of rows are hidden where the whole row of the mask is 0.

    Args:
        mask: 0/1 integers, at least ``[batch]``.
        shape: of the output.
        output: its name.

    Returns:
        Booleans of that shape.
    """
    hidden = np.zeros(shape, bool)
    if not mask.ndim or not shape or shape[0] != mask.shape[0]:
        return hidden
    rows = (mask == 0).reshape(mask.shape[0], -1).all(axis=1)
    hidden[rows] = True
    if output.startswith("present."):
        if mask.ndim == 2 and len(shape) == 4 and shape[2] == mask.shape[1]:
            hidden |= (mask == 0)[:, None, :, None]
    elif mask.ndim == 2 and len(shape) >= 2 and 0 < shape[1] <= mask.shape[1]:
        hidden[mask[:, mask.shape[1] - shape[1] :] == 0] = True
    return hidden
