"""Exporting must leave the user's model exactly as it was: snapshots of it, and putting back what was changed.

The model is the reference. A tracer that leaves a flag, a hook, a tensor of its own or other weights behind would make
every later comparison one with another model.
"""

from __future__ import annotations

import collections
import contextlib
import functools
import random
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from pytest_onnxprep.sources.base import Source
from pytest_onnxprep.sources.module_origin import Origin, origin_of

#: Containers whose contents are put back in place. Exact types: a subclass may do more than hold things.
_CONTAINERS = frozenset({list, dict, set, collections.OrderedDict, collections.deque, collections.defaultdict})
_DEEPEST = 4


@dataclass
class Custody:
    """What became of a model while somebody had it.

    Args:
        restored: what was changed and put back, in words.
        lost: what was changed and could not be put back.
    """

    restored: list[str] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)


class Belonging(Protocol):
    """A snapshot of a part of a model, taken when it is made."""

    def put_back(self, custody: Custody) -> None:
        """Undo what was changed since, and tell what somebody other than the model's own code must have done."""


@contextlib.contextmanager
def untouched(source: Source) -> Iterator[Custody]:
    """Give the model back as it was before the body: values, flags, hooks, attributes, and the process's generators.

    What a call of the model itself changes (buffers, attributes it assigns) is put back without a word.
    """
    custody = Custody()
    belongings: list[Belonging] = [RandomState(), *source.belongings()]
    state = source.state()
    try:
        yield custody
    finally:
        for belonging in reversed(belongings):
            try:
                belonging.put_back(custody)
            except Exception as error:  # the rest must still be put back
                custody.lost.append(f"{type(belonging).__name__} ({type(error).__name__}: {error})")
        source.restore(state)


class RandomState:
    """The generators of Python, NumPy and PyTorch."""

    def __init__(self) -> None:
        self._kept: list[tuple[Callable[[Any], Any], Any]] = [(random.setstate, random.getstate())]
        self._kept.append((np.random.set_state, np.random.get_state()))
        torch = sys.modules.get("torch")
        if torch is not None and hasattr(torch, "get_rng_state"):
            self._kept.append((torch.set_rng_state, torch.get_rng_state()))

    def put_back(self, custody: Custody) -> None:  # noqa: ARG002 - drawing numbers changes no model
        """See `Belonging`."""
        for restore, state in self._kept:
            restore(state)


class Contents:
    """What the containers and the user's own objects among some attributes hold, and what those hold in turn."""

    def __init__(self) -> None:
        self._kept: list[tuple[Any, Any]] = []
        self._seen: set[int] = set()

    def add(self, values: Any, depth: int = 0) -> None:
        """Take the contents of these values."""
        for value in values:
            cls: type = type(value)
            if cls in _CONTAINERS:
                if id(value) in self._seen:
                    continue
                self._seen.add(id(value))
                items = (list(value.items()) if isinstance(value, dict) else list(value)) if value else ()
                self._kept.append((value, items))
                if items and depth < _DEEPEST:
                    self.add(value.values() if isinstance(value, dict) else items, depth + 1)
            elif depth < _DEEPEST and id(value) not in self._seen and is_plain(cls):
                self._seen.add(id(value))
                namespace = vars(value)
                self._kept.append((namespace, list(namespace.items())))
                self.add(list(namespace.values()), depth + 1)

    def put_back(self, custody: Custody) -> None:  # noqa: ARG002 - told by whoever knows what the container is for
        """See `Belonging`."""
        for container, items in self._kept:
            if _same(container, items):
                continue
            container.clear()
            if isinstance(container, (dict, set)):
                container.update(items)
            else:
                container.extend(items)


def _same(container: Any, items: Any) -> bool:
    """Whether a container holds the very same objects, in the same order."""
    if len(container) != len(items):
        return False
    if not items:
        return True
    if isinstance(container, dict):
        pairs = zip(container.items(), items, strict=True)
        return all(key is old and value is was for (key, value), (old, was) in pairs)
    if isinstance(container, set):
        return container == set(items)
    return all(value is was for value, was in zip(container, items, strict=True))


@functools.cache
def is_plain(cls: type) -> bool:
    """Whether objects of a class are the user's own and nothing but their attributes."""
    if not hasattr(cls, "__dict__") or not hasattr(cls, "__dictoffset__") or cls.__dictoffset__ == 0:
        return False
    if issubclass(cls, (type, BaseException)) or origin_of(cls.__module__) is not Origin.USER:
        return False
    frameworks = ("torch", "keras", "tensorflow", "transformers", "numpy", "jax", "jaxlib", "flax", "equinox")
    return not any(base.__module__.partition(".")[0] in frameworks for base in cls.__mro__)
