"""Mutants: sound exports of the zoo's models with one thing wrong, each a `Case` like those of the corpus.

`KINDS` has every kind of mutation; `selected.json` says which kind was applied to which model with which seed, which
mutants no input tells from the original (excluded), and an input that tells each of the others. It is made by
`python -m benchmarks.detection.mutants`.
"""

from __future__ import annotations

import importlib

from benchmarks.detection.mutants.graph import KINDS, Model, neighbours

__all__ = ["KINDS", "Model", "neighbours"]

for _module in ("weights", "attributes", "operators", "shapes", "structure"):
    importlib.import_module(f"{__name__}.{_module}")
