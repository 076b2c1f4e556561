"""The one error of this room: an argument that does not mean anything."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Any

from pytest_onnxprep.spec.visible import visible


class SpecError(ValueError):
    """A specification (shape, dim, tolerance, budget, ...) is malformed; the message says what is accepted."""

    def __str__(self) -> str:
        """What is wrong, without control characters."""
        return visible(super().__str__())


def closest(word: str, known: Iterable[str]) -> str:
    """End a sentence about an unknown word: ``"; did you mean 'x'?"`` where one is near, else a full stop."""
    matches = difflib.get_close_matches(word, list(known), n=1)
    return f"; did you mean {matches[0]!r}?" if matches else "."


def as_tuple(value: Any) -> tuple[Any, ...]:
    """A list or tuple as a tuple; anything else as its only item (a list anywhere in a mark is a matrix)."""
    return tuple(value) if isinstance(value, (list, tuple)) else (value,)
