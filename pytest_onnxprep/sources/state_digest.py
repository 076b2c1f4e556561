"""What plain state comes to: a module's attributes, a model's configuration."""

from __future__ import annotations

from pytest_onnxprep.sources.source_code import CodeWalker
from pytest_onnxprep.sources.value_walk import Digest


def state_digest(value: object) -> Digest:
    """Digest a value: scalars, containers, arrays, enums, dataclasses, functions, classes and objects made of these.

    Returns:
        The digest, equal for equal values in every process; it is not ``stable`` when a part has no description
        (an open file, an object that cannot be pickled), and then equal within this process at most.
    """
    walker = CodeWalker()
    walker.root(value)
    return walker.finish()


__all__ = ["Digest", "state_digest"]
