"""Keras numbers the names it makes up (``dense_7``) over the whole process; here they are counted within one model.

So the inputs and outputs of an export, and its key in the cache, are the same whichever models were built before.
Keras does not record who chose a name: a user's own ``dense_7`` on a Dense layer counts as made up.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any


def own_names(model: Any) -> dict[str, str]:
    """Every name Keras made up in a model -> the name it would have in a process that built nothing else."""
    made_up: dict[str, dict[int, str]] = {}
    given: set[str] = set()
    for operation in _operations(model, set()):
        stem = _snake_case(type(operation).__name__)
        number = re.fullmatch(rf"{re.escape(stem)}(?:_(\d+))?", operation.name)
        if number is None:
            given.add(operation.name)
        else:
            made_up.setdefault(stem, {})[int(number[1] or 0)] = operation.name
    names: dict[str, str] = {}
    for stem, numbered in made_up.items():
        free = _free_names(stem, given)
        names.update((numbered[number], next(free)) for number in sorted(numbered))
    return names


def renamed(config: Any, names: Mapping[str, str]) -> Any:
    """A model's config with every string that is one of ``names`` replaced."""
    if isinstance(config, str):
        return names.get(config, config)
    if isinstance(config, Mapping):
        return {renamed(key, names): renamed(value, names) for key, value in config.items()}
    if isinstance(config, (list, tuple)):
        return [renamed(item, names) for item in config]
    return config


def distinct(names: Iterable[str]) -> list[str]:
    """Names told apart: outputs of one layer all bear its name, and become ``lstm``, ``lstm_1``, ``lstm_2``."""
    found: list[str] = []
    for name in names:
        candidate, count = name, 0
        while candidate in found:
            count += 1
            candidate = f"{name}_{count}"
        found.append(candidate)
    return found


def _operations(model: Any, seen: set[int]) -> Iterator[Any]:
    """The model, its layers, and the bare operations of functional models (``a + b``), nested ones included."""
    if id(model) in seen or not isinstance(getattr(model, "name", None), str):
        return
    seen.add(id(model))
    yield model
    inside = [getattr(model, "_functional", None), *getattr(model, "_operations", ()), *getattr(model, "_layers", ())]
    for operation in inside:
        if operation is not None:
            yield from _operations(operation, seen)


def _free_names(stem: str, given: set[str]) -> Iterator[str]:
    number = 0
    while True:
        name = f"{stem}_{number}" if number else stem
        if name not in given:
            yield name
        number += 1


def _snake_case(name: str) -> str:
    """Keras's own rule: ``Conv2DTranspose`` -> ``conv2d_transpose``."""
    name = re.sub(r"(.)([A-Z][a-z]+)", r"\1_\2", re.sub(r"\W+", "", name))
    return re.sub(r"([a-z])([A-Z])", r"\1_\2", name).lower()
