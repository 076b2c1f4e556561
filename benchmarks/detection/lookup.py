"""Cases and mutants by name, without building any."""

from __future__ import annotations

import hashlib
import inspect
from functools import cache

from benchmarks.detection.case import Case
from benchmarks.detection.exporting import ROOT
from benchmarks.detection.mutants.apply import all_mutants


@cache
def corpus() -> dict[str, Case]:
    """The bugs and their twins."""
    from benchmarks.detection.corpus import all_cases

    return {case.name: case for case in all_cases()}


@cache
def mutants() -> dict[str, Case]:
    """The mutants."""
    return {case.name: case for case in all_mutants()}


def find(name: str) -> Case:
    """A case of the corpus, or a mutant."""
    return corpus()[name] if name in corpus() else mutants()[name]


def part_of(case: Case) -> str:
    """``bugs``, ``twins`` or ``mutants``."""
    if case.name in mutants():
        return "mutants"
    return "bugs" if case.is_bug else "twins"


def digest(case: Case) -> str:
    """Changes when the case does: its declaration and the code of the module that holds it."""
    text = repr((case.exporter, case.opset, case.inputs, case.dims, case.atol, case.rtol, case.special_values))
    code = "" if part_of(case) == "mutants" else _module_code(getattr(case.model, "__module__", ""))
    return hashlib.blake2b(f"{text}{code}".encode(), digest_size=6).hexdigest()


@cache
def _module_code(name: str) -> str:
    import importlib

    try:
        return inspect.getsource(importlib.import_module(name))
    except (ImportError, OSError, ValueError):
        return name


@cache
def plugin_digest() -> str:
    """Changes when the code of the plugin does."""
    found = hashlib.blake2b(digest_size=6)
    for path in sorted((ROOT / "pytest_onnxprep").rglob("*.py")):
        found.update(path.read_bytes())
    return found.hexdigest()
