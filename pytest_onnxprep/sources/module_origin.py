"""Whose a module is: the user's, a third-party package's, or the standard library's."""

from __future__ import annotations

import enum
import functools
import importlib.util
import os
import sys
import sysconfig
from typing import Any

from pytest_onnxprep.sources.source_file import read_source

#: This package is a tool, not part of a model: even an editable install of it is only named.
OWN_PACKAGE = __name__.partition(".")[0]
_INSTALLED = frozenset({"site-packages", "dist-packages"})
_STDLIB = tuple(
    {
        folder.rstrip(os.sep) + os.sep
        for name in ("stdlib", "platstdlib")
        for folder in (sysconfig.get_path(name), os.path.realpath(sysconfig.get_path(name)))
    }
)


class Origin(enum.Enum):
    """Whose a module is."""

    USER = enum.auto()
    PACKAGE = enum.auto()
    STDLIB = enum.auto()


@functools.cache
def origin_of_path(path: str) -> Origin:
    """Whose a file is, told from where it lies; an editable install lies in the user's tree."""
    path = os.path.abspath(path)
    if not _INSTALLED.isdisjoint(path.split(os.sep)):
        return Origin.PACKAGE
    return Origin.STDLIB if path.startswith(_STDLIB) else Origin.USER


def origin_of(name: str) -> Origin:
    """Whose a module is: by its file, else by the file of the nearest parent that has one, else by its name."""
    top = name.partition(".")[0]
    if top == OWN_PACKAGE:
        return Origin.PACKAGE
    while name:
        path = module_path(name)
        if path is not None:
            return origin_of_path(path)
        name = name.rpartition(".")[0]
    return Origin.STDLIB if top in sys.stdlib_module_names else Origin.USER


def module_path(name: str) -> str | None:
    """The file of a loaded module (the folder, for a namespace package), or None."""
    namespace = getattr(sys.modules.get(name), "__dict__", {})
    file = namespace.get("__file__")
    if isinstance(file, str):
        return file
    return next((folder for folder in folders(namespace.get("__path__"))), None)


@functools.cache
def distribution_label(package: str) -> str:
    """``name==version`` of the distributions a top-level package comes from."""
    import importlib.metadata as metadata

    try:
        return f"{package}=={metadata.version(package)}"
    except metadata.PackageNotFoundError:
        names = [] if package == OWN_PACKAGE else sorted(set(_distributions().get(package, ())))
    if names:
        return ",".join(f"{name}=={metadata.version(name)}" for name in names)
    spec = find_spec(package)
    if spec is None:
        return f"{package} (absent)"
    read = read_source(package, spec.origin or "")
    return f"{package} ({'no version' if read is None else read.digest})"


@functools.cache
def _distributions() -> Any:
    import importlib.metadata

    return importlib.metadata.packages_distributions()


def find_spec(name: str) -> Any:
    """The spec of a top-level module that is not loaded; finders of others may raise anything."""
    try:
        return importlib.util.find_spec(name)
    except Exception:
        return None


def folders(path: Any) -> list[str]:
    """A package's ``__path__`` as a list; empty for what is no package."""
    try:
        return [folder for folder in path if isinstance(folder, str)]
    except Exception:  # None, or a lazy module's idea of a path
        return []
