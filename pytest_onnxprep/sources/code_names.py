"""Which names a code object mentions; apart from `live_code`, because every collection with our marks imports it."""

from __future__ import annotations

import dis
import functools
import types

_LOAD_GLOBAL, _LOAD_NAME, _IMPORT_NAME = (dis.opmap[name] for name in ("LOAD_GLOBAL", "LOAD_NAME", "IMPORT_NAME"))


@functools.lru_cache(maxsize=4096)
def names_of(code: types.CodeType) -> tuple[frozenset[str], frozenset[str], frozenset[str]]:
    """The global names that code loads, the modules it imports, and all names it mentions; nested code included."""
    loaded, imported, names = set(), set(), set(code.co_names)
    instructions = code.co_code
    extended = 0
    for position in range(0, len(instructions), 2):
        operation, argument = instructions[position], instructions[position + 1] | extended
        extended = argument << 8 if operation == dis.EXTENDED_ARG else 0
        if operation == _LOAD_GLOBAL:
            loaded.add(code.co_names[argument >> 1])
        elif operation == _LOAD_NAME:
            loaded.add(code.co_names[argument])
        elif operation == _IMPORT_NAME:
            imported.add(code.co_names[argument])
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            inner = names_of(constant)
            loaded |= inner[0]
            imported |= inner[1]
            names |= inner[2]
    return frozenset(loaded), frozenset(imported), frozenset(names)
