"""Real conversion bugs, each from a public thread, and a clean twin of each; every module here holds ``CASES``."""

from __future__ import annotations

import importlib
import pkgutil

from benchmarks.detection.case import Case


def all_cases() -> list[Case]:
    """Every case of every module, in a fixed order.

    Raises:
        ValueError: two cases of one name.
    """
    found: dict[str, Case] = {}
    for module in sorted(pkgutil.iter_modules(__path__), key=lambda module: module.name):
        for case in importlib.import_module(f"{__name__}.{module.name}").CASES:
            if case.name in found:
                raise ValueError(f"two cases are called {case.name!r}")
            found[case.name] = case
    return list(found.values())
