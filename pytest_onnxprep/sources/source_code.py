"""What of the user's code can change a model: live functions and classes, and the source files behind them.

Live objects see what files do not: closures, defaults, patched methods, globals set by a test. Files see what live
objects do not: module-level code, imports inside functions, names looked up at run time. A digest holds both.
"""

from __future__ import annotations

import platform
import types
from collections.abc import Iterable
from typing import Any

from pytest_onnxprep.sources.code_names import names_of
from pytest_onnxprep.sources.jax_weights import linen_fields
from pytest_onnxprep.sources.known_values import known
from pytest_onnxprep.sources.live_code import (
    annotations_of,
    file_of,
    has_file,
    home_of,
    is_patch,
    is_user,
    loaded_modules,
    module_of,
    runs_user_code,
)
from pytest_onnxprep.sources.module_origin import Origin, distribution_label, origin_of
from pytest_onnxprep.sources.recognise import is_class
from pytest_onnxprep.sources.source_tree import source_tree
from pytest_onnxprep.sources.value_walk import Digest, ValueWalker

_BUILTIN = (
    types.BuiltinFunctionType,
    types.MethodWrapperType,
    types.WrapperDescriptorType,
    types.MethodDescriptorType,
    types.ClassMethodDescriptorType,
    types.GetSetDescriptorType,
    types.MemberDescriptorType,
)
#: Bookkeeping of the interpreter and of pytest; says nothing about a model, and some of it cannot be pickled.
_SKIPPED = frozenset(
    {"__dict__", "__weakref__", "__module__", "__doc__", "__firstlineno__", "__static_attributes__", "_abc_impl"}
    | {"pytestmark", "_pytestfixturefunction", "__annotations_cache__", "__slotnames__"}
)
#: What the source file tells already, made of typing objects that often cannot be described.
_IN_SOURCE = frozenset({"__annotations__", "__dataclass_fields__", "__dataclass_params__", "__parameters__"}) | {
    "__orig_bases__",
    "__annotate_func__",
}


def code_digest(roots: Iterable[object]) -> Digest:
    """Digest the code that these objects run.

    Args:
        roots: functions, partials, lambdas, other callables, classes and modules. An instance counts with its whole
            state: pass ``type(model)`` for its code alone. The order matters, except in a set.

    Returns:
        The digest, equal in every process that has the same code, Python and packages; it is not ``stable`` when
        something the code refers to has no description (an open file, a socket).
    """
    walker = CodeWalker()
    walker.root(frozenset(roots) if isinstance(roots, (set, frozenset)) else list(roots))
    return walker.finish()


class CodeWalker(ValueWalker):
    """A walk that also knows functions, classes and modules, and reads the source files they come from."""

    def __init__(self) -> None:
        super().__init__()
        self._modules: set[tuple[str, str]] = set()
        self._packages: set[str] = set()

    def finish(self) -> Digest:
        """The digest of everything added, of the source files reached, and of the versions around them."""
        tree = source_tree(sorted(self._modules))
        self.stable = self.stable and tree.complete
        for name, digest in tree.files:
            self.name(b"file", name, digest)
        for package in sorted(self._packages | tree.packages):
            self.name(b"package", distribution_label(package))
        self.name(b"python", platform.python_implementation(), platform.python_version())
        return super().finish()

    def transient(self, value: object) -> bool:
        """Add code objects, methods and descriptors: made anew or shared at Python's whim."""
        if isinstance(value, types.CodeType):
            self._code(value)
        elif isinstance(value, types.MethodType):
            self.emit(b"method")
            self.value(value.__func__)
            self.value(value.__self__)
        elif isinstance(value, _BUILTIN):
            owner = getattr(value, "__objclass__", None) or getattr(value, "__module__", None)
            self.name(b"builtin", getattr(owner, "__qualname__", owner), value.__qualname__)
            bound = getattr(value, "__self__", None)
            if bound is not None and not isinstance(bound, types.ModuleType):
                self.value(bound)
        elif isinstance(value, (staticmethod, classmethod)):
            self.name(b"descriptor", type(value).__name__)
            self.value(value.__func__)
        elif isinstance(value, types.ModuleType):
            self._module(value, frozenset(), set())
        else:
            return False
        return True

    def special(self, value: object) -> bool:
        """Add functions, classes, and the parts of both."""
        if isinstance(value, type):
            self._class(value)
        elif isinstance(value, types.FunctionType):
            self._function(value)
        elif isinstance(value, property):
            self.emit(b"property")
            for part in (value.fget, value.fset, value.fdel):
                self.value(part)
        elif isinstance(value, types.CellType):
            self._cell(value)
        elif is_class(value, "jitted"):  # beside the function it holds caches of this process
            self.emit(b"jitted")
            self.value(value.__wrapped__)  # type: ignore[attr-defined]
        elif is_class(value, "linen"):  # its first call leaves traces in it
            self.kind(type(value))
            self.value(linen_fields(value))
            self.value(getattr(value, "variables", {}) if getattr(value, "scope", None) is not None else {})
        else:
            described = known(value)
            if described is None:
                return False
            self.emit(b"known", described)
        return True

    def kind(self, cls: type) -> None:
        """Add an object's type with its code."""
        self.value(cls)

    def importable(self, value: object, name: str) -> None:
        """Add compiled functions, cached functions and the like: by name, and by what they wrap."""
        module = str(getattr(value, "__module__", ""))
        self.name(b"importable", module, name)
        self._reach(module)
        wrapped = getattr(value, "__dict__", {}).get("__wrapped__")
        if wrapped is not None:
            self.value(wrapped)

    def hides_state(self, cls: type) -> bool:
        """Pickling written by the user may leave out what the model computes with; that of packages is trusted."""
        return is_user(cls)

    def _class(self, cls: type) -> None:
        module = module_of(cls)
        self.name(b"class", module, cls.__qualname__)
        self._reach(module)
        if not is_user(cls):
            for base in cls.__mro__:
                self._patched(vars(base))
            return
        self.emit(b"bases", b"%d" % len(cls.__bases__))
        for base in (type(cls), *cls.__bases__):
            self.value(base)
        skipped = _SKIPPED | _IN_SOURCE if has_file(module) else _SKIPPED
        members = {name: member for name, member in vars(cls).items() if name not in skipped}
        if not members.get("__annotations__"):  # looking at them has made an empty dict
            members.pop("__annotations__", None)
        self.names(b"members", members)

    def _patched(self, namespace: Any) -> None:
        """Add the functions that the user has put into somebody else's class or module."""
        patched = {name: member for name, member in namespace.items() if is_patch(member)}
        if patched:
            self.names(b"patched", patched)

    def _function(self, function: types.FunctionType) -> None:
        module = function.__module__ or ""
        self.name(b"function", module, function.__qualname__)
        if runs_user_code(function):
            self._reach(module, function)
            self._code(function.__code__)
            self._globals(function)
            if not has_file(module):
                self.value(annotations_of(function))
        else:
            self._reach(function.__globals__.get("__name__") or module)
            if "<locals>" not in function.__qualname__ and origin_of(module) is not Origin.USER:
                return
        self.value(function.__defaults__)
        self.names(b"kwdefaults", function.__kwdefaults__ or {})
        self.emit(b"closure", b"%d" % len(function.__closure__ or ()))
        for cell in function.__closure__ or ():
            self.value(cell)
        extra = {name: item for name, item in vars(function).items() if name not in _SKIPPED}
        self.names(b"attributes", extra)

    def _cell(self, cell: types.CellType) -> None:
        try:
            content = cell.cell_contents
        except ValueError:
            self.emit(b"empty cell")
            return
        self.emit(b"cell")
        self.value(content)

    def _code(self, code: types.CodeType) -> None:
        self.emit(b"code", code.co_code)
        self.emit(b"exceptions", getattr(code, "co_exceptiontable", b""))
        self.name(b"names", code.co_name, *code.co_names)
        self.name(b"variables", *code.co_varnames, "", *code.co_freevars, "", *code.co_cellvars)
        self.name(b"shape", code.co_flags, code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount)
        stable = self.stable
        self.value(code.co_consts)
        self.stable = stable  # constants are in the source: text that looks like an address is none

    def _globals(self, function: types.FunctionType) -> None:
        """Add what the function's global names stand for now."""
        loaded, imported, names = names_of(function.__code__)
        for name in sorted(loaded & function.__globals__.keys()):
            found = function.__globals__[name]
            self.name(b"global", name)
            if isinstance(found, types.ModuleType):
                self._module(found, names, set())
            else:
                self.value(found)
        for name in sorted(imported):
            for module in loaded_modules(name, home_of(function)):
                self._replaced(module, names, set())

    def _replaced(self, module: types.ModuleType, names: frozenset[str], seen: set[int]) -> None:
        """Add the functions and classes that somebody else has put into a module which a function imports itself.

        The module's own members are in its file. They are left out here because the module may not be loaded yet
        the first time a digest is made.
        """
        if id(module) in seen or origin_of(module.__name__) is not Origin.USER:
            return
        seen.add(id(module))
        path = file_of(module.__name__, None)
        if path is None:  # no file to tell it: a stand-in
            self._module(module, names, set())
            return
        known = {name for name, _ in source_tree([(module.__name__, path)]).files}
        foreign = {}
        for name in sorted(names & vars(module).keys()):
            member = vars(module)[name]
            if isinstance(member, types.ModuleType):
                self._replaced(member, names, seen)
            elif isinstance(member, (type, types.FunctionType)):
                home = member.__module__ or ""
                if home not in known and origin_of(home) is Origin.USER:
                    foreign[name] = member
        if foreign:
            self.name(b"replaced in", module.__name__)
            self.names(b"replaced", foreign)

    def _module(self, module: types.ModuleType, names: frozenset[str], seen: set[int]) -> None:
        """Add a module, with those of its members that a function naming ``names`` may use."""
        if id(module) in seen:
            return
        seen.add(id(module))
        self.name(b"module", module.__name__)
        self._reach(module.__name__)
        used = {name: vars(module)[name] for name in sorted(names) if name in vars(module)}
        is_user = origin_of(module.__name__) is Origin.USER
        for name, member in used.items():
            self.name(b"member", name)
            if isinstance(member, types.ModuleType):
                self._module(member, names, seen)
            elif is_user:
                self.value(member)
        if not is_user:
            self._patched(used)

    def _reach(self, module: str, function: types.FunctionType | None = None) -> None:
        """Remember a module: its file is read, or its package named, when the walk is over."""
        origin = origin_of(module)
        if origin is Origin.PACKAGE:
            self._packages.add(module.partition(".")[0])
        elif origin is Origin.USER:
            path = file_of(module, function)
            if path is not None:
                self._modules.add((module, path))


__all__ = ["CodeWalker", "Digest", "code_digest"]
