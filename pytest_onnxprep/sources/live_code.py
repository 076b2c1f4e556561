"""Questions about live functions and classes: whose they are, which file they come from, what they mention."""

from __future__ import annotations

import os
import sys
import types

from pytest_onnxprep.sources.module_origin import Origin, module_path, origin_of, origin_of_path
from pytest_onnxprep.sources.source_file import loader_source


def file_of(module: str, function: types.FunctionType | None) -> str | None:
    """The file of the user's module, or None for code that has none (typed in, generated)."""
    path = module_path(module)
    if function is not None:
        file = function.__code__.co_filename
        if path is None or os.path.basename(path) != os.path.basename(file):
            path = file if os.path.isfile(file) else path
    if path is None or os.path.exists(path) or loader_source(module) is not None:
        return path
    return None


def has_file(module: str) -> bool:
    """Whether a module's source is read when the module is reached."""
    return file_of(module, None) is not None


def is_user(cls: type) -> bool:
    """Whether a class is walked: the user's own, or one made at run time by somebody else's factory."""
    return "<locals>" in cls.__qualname__ or origin_of(module_of(cls)) is Origin.USER


def module_of(cls: type) -> str:
    """The name of a class's module; empty for one that has made it something else."""
    module = vars(cls).get("__module__", cls.__module__)
    return module if isinstance(module, str) else ""


def runs_user_code(function: types.FunctionType) -> bool:
    """Whether a function's own code is the user's, told from its file, else from its module."""
    file = function.__code__.co_filename
    if not file.startswith("<") and not file.endswith(">"):
        return origin_of_path(file) is Origin.USER and origin_of(home_of(function)) is not Origin.PACKAGE
    return origin_of(home_of(function)) is Origin.USER


def home_of(function: types.FunctionType) -> str:
    """The name of the module the code was defined in; wrappers call themselves after what they wrap."""
    return str(function.__globals__.get("__name__") or "")


def is_patch(member: object) -> bool:
    """Whether a member of somebody else's class or module was put there by the user."""
    return isinstance(member, types.FunctionType) and runs_user_code(member)


def annotations_of(function: types.FunctionType) -> object:
    """A function's annotations, or None where they cannot be evaluated."""
    try:
        return function.__annotations__
    except Exception:  # evaluated on demand since Python 3.14, by code of the user's
        return None


def loaded_modules(name: str, home: str) -> list[types.ModuleType]:
    """The loaded modules that an import of ``name`` inside module ``home`` may mean, relative ones included."""
    packages = [home.rsplit(".", count)[0] for count in range(home.count(".") + 1)]
    found = [sys.modules.get(".".join(filter(None, (package, name)))) for package in ("", *packages)]
    return [module for module in found if isinstance(module, types.ModuleType)]
