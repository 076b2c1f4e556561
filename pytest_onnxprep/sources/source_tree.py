"""Which source files stand behind a module: its own, and those of everything it imports from the user's tree.

Nothing is imported here: imports are read from the syntax tree and resolved through ``sys.modules``, else by looking
for files. Third-party packages are named with their version and not read; the standard library is the Python version.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

from pytest_onnxprep.sources.module_origin import OWN_PACKAGE, Origin, find_spec, folders, module_path, origin_of_path
from pytest_onnxprep.sources.source_file import Import, read_source

_SUFFIXES = (".py", *EXTENSION_SUFFIXES)


@dataclass(frozen=True)
class Tree:
    """What the modules of the user's tree come to.

    Args:
        files: sorted (module name, content digest) pairs.
        packages: top-level names of the third-party packages imported.
        complete: False where a file could not be read or parsed.
    """

    files: tuple[tuple[str, str], ...]
    packages: frozenset[str]
    complete: bool


def source_tree(modules: Iterable[tuple[str, str]]) -> Tree:
    """Read these (module name, file) pairs and, transitively, what they import from the user's tree."""
    crawl = _Crawl()
    for name, path in modules:
        crawl.take_with_parents(name, path)
    crawl.finish()
    return Tree(tuple(sorted(crawl.files)), frozenset(crawl.packages), crawl.complete)


class _Crawl:
    """Breadth-first walk over files."""

    def __init__(self) -> None:
        self.files: set[tuple[str, str]] = set()
        self.packages: set[str] = set()
        self.complete = True
        self._queue: list[tuple[str, str]] = []
        self._seen: set[tuple[str, str]] = set()
        self._path = [entry or os.getcwd() for entry in sys.path]
        self._path = [entry for entry in self._path if origin_of_path(os.path.join(entry, "x")) is Origin.USER]

    def take_with_parents(self, name: str, path: str) -> None:
        parent = name.rpartition(".")[0]
        while parent:
            file = module_path(parent)
            if file is not None:
                self._take(parent, file)
            parent = parent.rpartition(".")[0]
        self._take(name, path)

    def finish(self) -> None:
        while self._queue:
            name, path = self._queue.pop()
            source = read_source(name, path)
            if source is None or source.imports is None:
                self.complete = False
            if source is None:
                continue
            self.files.add((name, source.digest))
            for found in source.imports or ():
                self._follow(found, name, path)

    def _take(self, name: str, path: str) -> bool:
        """Queue a file of the user's tree; name a third-party package. Returns whether to look further inside."""
        top = name.partition(".")[0]
        origin = Origin.PACKAGE if top == OWN_PACKAGE else origin_of_path(path)
        if origin is Origin.PACKAGE:
            self.packages.add(top)
        if origin is Origin.USER and (name, path) not in self._seen:
            self._seen.add((name, path))
            if not os.path.isdir(path):
                self._queue.append((name, path))
        return origin is Origin.USER

    def _follow(self, found: Import, name: str, path: str) -> None:
        """Take what one import statement of ``name`` reaches."""
        package = name if _is_init(path) else name.rpartition(".")[0]
        own = Path(path).absolute().parent
        if found.level:
            for _ in range(found.level - 1):
                package = package.rpartition(".")[0]
            place = _Place(package, [str(folder) for folder in (own, *own.parents)[found.level - 1 : found.level]])
        else:
            depth = package.count(".")
            root = own.parents[depth] if package and depth < len(own.parents) else own
            place = _Place("", [*self._path, str(root)], beside=str(own))
        inside: _Place | None = place
        for part in found.module.split(".") if found.module else ():
            inside = None if inside is None else self._descend(inside, part)
        if inside is not None:
            for each in found.names:
                self._descend(inside, each)

    def _descend(self, place: _Place, part: str) -> _Place | None:
        """Take one module; the place of its submodules, or None when it is not the user's."""
        name = f"{place.package}.{part}" if place.package else part
        path = module_path(name)
        if path is None and place.beside is not None:
            if name in sys.stdlib_module_names:
                return None
            path = _find_file(part, place.folders) or _installed(name) or _find_file(part, [place.beside])
            if path is None:
                self.packages.add(name)
        elif path is None:
            path = _find_file(part, place.folders) or _find_folder(part, place.folders)
        if path is None or not self._take(name, path):
            return None
        if os.path.isdir(path):
            return _Place(name, [path])
        if not _is_init(path):
            return _Place(name, [])
        loaded = folders(getattr(sys.modules.get(name), "__path__", None))
        return _Place(name, loaded or [os.path.dirname(path)])


@dataclass(frozen=True)
class _Place:
    """Where the modules of a package are found; ``beside`` is set for absolute imports and is looked at last."""

    package: str
    folders: list[str]
    beside: str | None = None


def _is_init(path: str) -> bool:
    return os.path.basename(path).startswith("__init__.")


def _installed(name: str) -> str | None:
    spec = find_spec(name)
    return None if spec is None else spec.origin or next(iter(folders(spec.submodule_search_locations)), None)


def _find_file(name: str, places: Iterable[str]) -> str | None:
    for place in places:
        base = os.path.join(place, name)
        for candidate in (os.path.join(base, "__init__.py"), *(base + suffix for suffix in _SUFFIXES)):
            if os.path.isfile(candidate):
                return candidate
    return None


def _find_folder(name: str, places: Iterable[str]) -> str | None:
    """A namespace package: it loses against every file, as in Python itself."""
    return next((base for base in (os.path.join(place, name) for place in places) if os.path.isdir(base)), None)
