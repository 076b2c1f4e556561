"""The one error of this room: an argument that does not mean anything."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class SpecError(ValueError):
    """A specification (shape, dim, tolerance, budget, ...) is malformed; the message says what is accepted."""


def closest(word: str, known: Iterable[str]) -> str:
    """End a sentence about an unknown word: ``"; did you mean 'x'?"`` where one is near, else a full stop."""
    matches = difflib.get_close_matches(word, list(known), n=1)
    return f"; did you mean {matches[0]!r}?" if matches else "."
