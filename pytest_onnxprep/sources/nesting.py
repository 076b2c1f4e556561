"""Flat names for nested inputs: ``state.0`` and ``state.1`` are the two parts of the parameter ``state``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any


def nested(values: Mapping[str, Any]) -> dict[str, Any]:
    """Gather values by the dots of their names.

    Parts that are numbered from 0 become a tuple, others a dict.
    """
    gathered: dict[str, Any] = {}
    for name, value in values.items():
        *stem, last = name.split(".")
        inside = gathered
        for part in stem:
            inside = inside.setdefault(part, {})
        inside[last] = value
    return {name: _finished(value) for name, value in gathered.items()}


def roots(names: Iterable[str]) -> list[str]:
    """The parameters that flat names belong to."""
    return list(dict.fromkeys(name.partition(".")[0] for name in names))


def _finished(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    inside = {name: _finished(part) for name, part in value.items()}
    if list(inside) == [str(number) for number in range(len(inside))]:
        return tuple(inside.values())
    return inside
