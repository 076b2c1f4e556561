"""The house rules of the package, read from its source: who may import whom, and what stays light."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "pytest_onnxprep"

#: Room (folder, or module beside them) -> the rooms it may import, anywhere in its code: only ones further up.
ALLOWED: dict[str, set[str]] = {
    "spec": set(),
    "stats": set(),
    "machine": set(),
    "errors": {"spec"},
    "marks": {"errors", "spec"},
    "fuzz": {"errors", "spec"},
    "strategies": {"fuzz", "errors", "spec"},
    "report": {"machine", "errors", "spec"},
    "runtime": {"machine", "stats", "errors", "spec"},
    "sources": {"runtime", "errors", "spec"},
    "artifacts": {"sources", "runtime", "errors", "spec"},
    "transforms": {"artifacts", "runtime", "errors", "spec"},
    "exporters": {"artifacts", "sources", "fuzz", "runtime", "errors", "spec"},
    "compose": {"exporters", "artifacts", "sources", "fuzz", "runtime", "stats", "errors", "spec"},
    "compare": {"artifacts", "runtime", "errors", "spec"},
    "localise": {"compare", "artifacts", "sources", "runtime", "errors", "spec"},
    "checks": {
        "localise",
        "compare",
        "fuzz",
        "exporters",
        "transforms",
        "artifacts",
        "sources",
        "runtime",
        "machine",
        "stats",
        "errors",
        "spec",
    },
}
#: These tie the rooms together and may import all of them; nothing imports them.
TOP = {"plugin", "api", "__init__"}

FRAMEWORKS = {"torch", "torchvision", "tensorflow", "keras", "jax", "flax", "equinox", "transformers", "tf2onnx"}
FRAMEWORKS |= {"jax2onnx", "onnxscript"}
KNOW_FRAMEWORKS = {"sources", "exporters"}
KNOW_PYTEST = {"plugin", "marks"}
#: Loaded by every pytest run in whose environment we are installed.
LIGHT = {"plugin", "marks", "spec", "errors", "report", "__init__"}
HEAVY = {"numpy", "onnx", "onnxruntime", "hypothesis", "ml_dtypes"}

LONGEST_MODULE = 400


@dataclass(frozen=True)
class Import:
    """One imported module and where its import stands."""

    module: str
    file: Path
    line: int
    is_at_import: bool

    @property
    def top(self) -> str:
        """The distribution-level name."""
        return self.module.partition(".")[0]

    @property
    def room(self) -> str:
        """The room that imports."""
        return room(self.file)

    def __str__(self) -> str:
        return f"{self.file.relative_to(PACKAGE.parent)}:{self.line} imports {self.module}"


def room(file: Path) -> str:
    """The folder a file lies in, or its own name beside them."""
    first = file.relative_to(PACKAGE).parts[0]
    return first.removesuffix(".py")


def modules() -> list[Path]:
    """Every Python file of the package."""
    return sorted(PACKAGE.rglob("*.py"))


@cache
def imports() -> tuple[Import, ...]:
    """Every import statement of the package."""
    return tuple(found for file in modules() for found in _imports(file))


def _imports(file: Path) -> Iterator[Import]:
    def visit(node: ast.AST, at_import: bool) -> Iterator[Import]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.Import):
                yield from (Import(alias.name, file, child.lineno, at_import) for alias in child.names)
            elif isinstance(child, ast.ImportFrom):
                assert not child.level, f"{file}:{child.lineno}: imports are absolute here"
                names = (f"{child.module}.{alias.name}" for alias in child.names)
                yield from (Import(name, file, child.lineno, at_import) for name in names)
            elif isinstance(child, ast.If) and ast.unparse(child.test).endswith("TYPE_CHECKING"):
                for part in child.body:
                    yield from visit(ast.Module([part], []), False)
                for part in child.orelse:
                    yield from visit(ast.Module([part], []), at_import)
            else:
                is_body = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
                yield from visit(child, at_import and not is_body)

    yield from visit(ast.parse(file.read_text(encoding="utf-8")), True)


def listed(found: list[Import]) -> str:
    """One import a line."""
    return "\n".join(map(str, found))


def test_reader_tells_the_kinds_of_import_apart(tmp_path: Path) -> None:
    """Imports in functions and under TYPE_CHECKING happen later; those in classes, try blocks and else do not."""
    file = tmp_path / "sample.py"
    file.write_text(
        "import a\n"
        "from typing import TYPE_CHECKING\n"
        "if TYPE_CHECKING:\n    import b\nelse:\n    import c\n"
        "try:\n    import d.e\nexcept ImportError:\n    pass\n"
        "class K:\n    import f\n    def m(self):\n        from g import h\n"
    )
    found = {one.module: one.is_at_import for one in _imports(file)}

    assert found == {
        "a": True,
        "typing.TYPE_CHECKING": True,
        "b": False,
        "c": True,
        "d.e": True,
        "f": True,
        "g.h": False,
    }


def test_arrows_have_no_circle() -> None:
    """The table of allowed imports is a one-way street, listed from the bottom up."""
    seen: set[str] = set()
    for name, below in ALLOWED.items():
        assert below <= seen, f"{name} may import {below - seen}, which the table lists after it"
        seen.add(name)


def test_every_room_is_in_the_table() -> None:
    """A new room says here what it may import."""
    assert {room(file) for file in modules()} <= set(ALLOWED) | TOP


def test_rooms_import_downwards_only() -> None:
    """A room imports itself and what the table allows it, nothing else of ours."""
    wrong = []
    for one in imports():
        if one.top == PACKAGE.name and one.room not in TOP:
            parts = one.module.split(".")
            target = parts[1] if len(parts) > 1 else "__init__"
            if target != one.room and target not in ALLOWED[one.room]:
                wrong.append(one)

    assert not wrong, f"arrows the table does not allow:\n{listed(wrong)}"


def test_only_the_plugin_knows_pytest() -> None:
    """Nothing below the plugin imports pytest or its plugins, so that everything below works without."""
    known = {"pytest", "_pytest", "pluggy", "pytest_benchmark", "xdist"}
    wrong = [one for one in imports() if one.top in known and one.room not in KNOW_PYTEST]

    assert not wrong, listed(wrong)


def test_only_sources_and_exporters_know_frameworks() -> None:
    """A framework is imported by its source and its exporter alone, and not before it is needed."""
    wrong = [
        one for one in imports() if one.top in FRAMEWORKS and (one.room not in KNOW_FRAMEWORKS or one.is_at_import)
    ]

    assert not wrong, listed(wrong)


def test_light_rooms_import_nothing_heavy() -> None:
    """What every pytest run loads imports no array, ONNX or fuzzing library at module level."""
    wrong = [one for one in imports() if one.top in HEAVY and one.room in LIGHT and one.is_at_import]

    assert not wrong, listed(wrong)


def _light_modules() -> list[str]:
    # Of the plugin, what its entry point loads: hooks may import the rest when a model is at hand.
    files = [file for file in modules() if room(file) in LIGHT - {"plugin"} or file == PACKAGE / "plugin/__init__.py"]
    return [
        ".".join(file.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__") for file in files
    ]


def test_light_rooms_load_nothing_heavy() -> None:
    """Neither does anything they import in turn."""
    lines = [f"import {module}" for module in _light_modules()]
    heavy = sorted(HEAVY | FRAMEWORKS)
    code = "\n".join(["import sys, pytest", *lines, f"print(sorted(set(sys.modules) & set({heavy!r})))"])
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=PACKAGE.parent, check=False)

    assert (done.returncode, done.stdout.strip()) == (0, "[]"), done.stderr


@pytest.mark.parametrize("folder", ["spec", "stats"])
def test_bottom_rooms_are_plain(folder: str) -> None:
    """Plain data and pure functions need the standard library only."""
    wrong = [one for one in imports() if one.room == folder and one.top not in sys.stdlib_module_names | {PACKAGE.name}]

    assert not wrong, listed(wrong)


def test_modules_are_short() -> None:
    """A module that outgrows its page is two modules."""
    lengths = {str(file.relative_to(PACKAGE)): len(file.read_text().splitlines()) for file in modules()}

    assert {name: length for name, length in lengths.items() if length > LONGEST_MODULE} == {}


def test_rooms_say_what_they_are_for() -> None:
    """Every folder with code is a package whose docstring tells its purpose."""
    silent = [
        str(folder.relative_to(PACKAGE))
        for folder in sorted({file.parent for file in modules()})
        if not (folder / "__init__.py").exists()
        or not ast.get_docstring(ast.parse((folder / "__init__.py").read_text()))
    ]

    assert silent == []
