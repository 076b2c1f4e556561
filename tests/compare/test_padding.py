"""Which outputs stand for padding."""

from __future__ import annotations

import numpy as np

from pytest_onnxprep.compare.padding import is_hidden

MASK = np.array([[1, 1, 0], [0, 0, 0]])


def test_one_value_per_position():
    """[batch, seq, features]: the zeros of the mask."""
    assert is_hidden(MASK, (2, 3, 4)).all(axis=2).tolist() == [[False, False, True], [True, True, True]]


def test_pooled_outputs_are_hidden_by_empty_rows_only():
    """[batch, labels]: a row without a single token has no answer."""
    assert is_hidden(MASK, (2, 7)).all(axis=1).tolist() == [False, True]


def test_a_mask_that_covers_a_past():
    """The outputs belong to its last positions."""
    assert is_hidden(np.array([[0, 0, 1, 0]]), (1, 2, 5)).all(axis=2).tolist() == [[False, True]]


def test_other_outputs_are_not_hidden():
    """Another batch, or a lone number."""
    assert not is_hidden(MASK, (5, 3)).any()
    assert not is_hidden(MASK, ()).any()
    assert not is_hidden(np.array(0), (2,)).any()


def test_cache_of_padding():
    """[batch, heads, positions, width]: a cache keeps what padding said as well, which nobody reads."""
    hidden = is_hidden(MASK, (2, 2, 3, 4), "present.0.key")

    assert hidden.all(axis=(1, 3)).tolist() == [[False, False, True], [True, True, True]]
    assert not is_hidden(MASK[:1], (1, 2, 5, 4), "present.0.decoder.key").any()
