"""Turn a Python value into bytes that are the same in every process, or say that this cannot be done.

Scalars go by value, containers by their items, arrays and tensors by their elements, and every other object by its
type and what its pickle would hold (``__reduce_ex__``), walked by the same rules, so that no address and no set order
of this process slips in. What an object shares with another, or with itself, is told by the order of first visits.
"""

from __future__ import annotations

import copyreg
import hashlib
import os
import secrets
import struct
import sys
import types
import weakref
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

_SIZE = 20
#: More than this many values is no configuration; walking on would cost more than exporting again.
_MOST_NODES = 500_000
#: Makes the digest of whatever has no stable description differ from process to process.
_PROCESS = secrets.token_bytes(16)
#: Objects named by their address, kept so that no other object gets it.
_kept: dict[int, object] = {}
#: An attribute of Transformers' ``GenerationConfig``: Python's hash of its text, another one in every process.
_PROCESS_MARK = "_original_object_hash"
#: Types that carry no state a model could depend on.
_INERT = frozenset({"lock", "RLock"})


@dataclass(frozen=True)
class Digest:
    """What a model's code or state comes to.

    Args:
        hexdigest: equal for equal code and state.
        stable: False when something could not be described; the digest is then unlike that of any other process.
    """

    hexdigest: str
    stable: bool

    def __str__(self) -> str:
        return self.hexdigest


class ValueWalker(ABC):
    """One walk: feed it values, then `finish`."""

    def __init__(self) -> None:
        self.stable = True
        self._hash = hashlib.blake2b(digest_size=_SIZE)
        #: id -> (order of first visit, the object itself, so that its id stays taken)
        self._memo: dict[int, tuple[int, object]] = {}
        self._nodes = 0

    def value(self, value: object) -> None:
        """Add one value of any kind."""
        cls = type(value)
        atom = _ATOMS.get(cls)
        if atom is not None:
            self.emit(cls.__name__.encode(), atom(value))
            if cls is str and " at 0x" in value:  # type: ignore[operator]
                self.stable = False
            return
        self._nodes += 1
        if self._nodes > _MOST_NODES:
            raise _TooMuchError
        if cls is tuple:
            self._ordered(b"tuple", value)  # type: ignore[arg-type]
        elif cls is frozenset:
            self.unordered(b"frozenset", value)  # type: ignore[arg-type]
        elif not self.transient(value) and not self._seen(value):
            self._shared(value)

    def root(self, value: object) -> None:
        """Add one value; one that cannot be walked makes the digest unstable instead of failing."""
        outer = self._hash
        try:
            self.value(value)
        except Exception:  # too large, too deep, or one of the user's objects raised when it was looked at
            self._hash = outer
            self.stable = False
            self.emit(b"unwalked", secrets.token_bytes(16))

    def finish(self) -> Digest:
        """The digest of everything added."""
        if not self.stable:
            self.emit(b"process", _PROCESS + str(os.getpid()).encode())
        return Digest(self._hash.hexdigest(), self.stable)

    def emit(self, tag: bytes, data: bytes | memoryview = b"") -> None:
        """Add bytes; no two sequences of calls give the same stream."""
        self._hash.update(b"%b %d:" % (tag, len(data)))
        self._hash.update(data)

    def name(self, tag: bytes, *names: object) -> None:
        """Add something by its name alone."""
        self.emit(tag, "\0".join(map(str, names)).encode("utf-8", "surrogatepass"))

    def unordered(self, tag: bytes, values: Iterable[object]) -> None:
        """Add values whose order means nothing: each is digested by itself, and the digests are sorted."""
        outer, digests = self._hash, []
        try:
            for value in values:
                mark = len(self._memo)
                self._hash = hashlib.blake2b(digest_size=_SIZE)
                self.value(value)
                digests.append(self._hash.digest())
                while len(self._memo) > mark:
                    self._memo.popitem()
        finally:
            self._hash = outer
        self.emit(tag, b"".join(sorted(digests)))

    def names(self, tag: bytes, items: Mapping[str, object]) -> None:
        """Add a namespace: name and value, sorted by name."""
        self.emit(tag, str(len(items)).encode())
        for name in sorted(items, key=str):
            self.value(name)
            self.value(items[name])

    def unstable(self, value: object) -> None:
        """Add something that has no description: it is told from others by its address in this process."""
        self.stable = False
        _kept[id(value)] = value
        self.emit(b"unstable", b"%d" % id(value))

    @abstractmethod
    def transient(self, value: object) -> bool:
        """Add a value whose identity means nothing (code objects, bound methods). Returns whether it did."""

    @abstractmethod
    def special(self, value: object) -> bool:
        """Add a value that has a description of its own (functions, classes). Returns whether it did."""

    @abstractmethod
    def kind(self, cls: type) -> None:
        """Add the type of an object."""

    @abstractmethod
    def importable(self, value: object, name: str) -> None:
        """Add an object that pickles as a name in its module."""

    @abstractmethod
    def hides_state(self, cls: type) -> bool:
        """Whether a class's own pickling may leave out what its methods use."""

    def _seen(self, value: object) -> bool:
        known = self._memo.get(id(value))
        if known is None:
            self._memo[id(value)] = (len(self._memo), value)
            return False
        self.emit(b"again", b"%d" % known[0])
        return True

    def _ordered(self, tag: bytes, values: Iterable[object]) -> None:
        items = list(values)
        self.emit(tag, b"%d" % len(items))
        for item in items:
            self.value(item)

    def _shared(self, value: Any) -> None:
        """Add an object that other objects may also refer to."""
        cls = type(value)
        if cls is list:
            self._ordered(b"list", value)
        elif cls is dict or cls is types.MappingProxyType:
            self._ordered(b"dict", [part for item in value.items() for part in item])
        elif isinstance(value, (set, frozenset)):
            self.kind(cls)
            self.unordered(b"set", value)
            self._attributes(value)
        elif cls is weakref.ReferenceType:
            self._ordered(b"weakref", [value()])
        elif cls.__name__ in _INERT and cls.__module__ in ("_thread", "threading"):
            self.name(b"inert", cls.__name__)
        elif not self.special(value) and not self._array(value):
            self._object(value)

    def _array(self, value: Any) -> bool:
        """Add a numpy array, a torch tensor, or anything else that numpy can read."""
        numpy, torch = sys.modules.get("numpy"), sys.modules.get("torch")
        if torch is not None and isinstance(value, getattr(torch, "Tensor", ())):
            return self._tensor(value, torch)
        cls = type(value)
        if numpy is None or not (hasattr(cls, "__array__") and hasattr(cls, "dtype") and hasattr(cls, "shape")):
            return False
        if isinstance(value, numpy.generic) or numpy.ma.isMaskedArray(value):
            return False
        try:
            array = numpy.asarray(value)
        except Exception:  # a framework's array that is not to be had as one of numpy's
            return False
        self.kind(cls)
        self.name(b"array", array.dtype.descr if array.dtype.names else array.dtype, array.shape)
        if array.dtype.hasobject:
            self._ordered(b"objects", array.ravel().tolist())
        else:
            self.emit(b"bytes", memoryview(numpy.ascontiguousarray(array).reshape(-1).view(numpy.uint8)))
        return True

    def _tensor(self, tensor: Any, torch: Any) -> bool:
        try:
            flat = tensor.detach().cpu().resolve_conj().resolve_neg().contiguous().reshape(-1)
            data = memoryview(flat.view(torch.uint8).numpy()) if flat.numel() else b""
        except Exception:  # sparse, quantised, fake, on no device
            return False
        self.kind(type(tensor))
        self.name(b"tensor", tensor.dtype, tuple(tensor.shape))  # whether it wants a gradient hangs on the last call
        self.emit(b"bytes", data)
        return True

    def _object(self, value: object) -> None:
        """Add any other object: its type, what its pickle would hold, and its attributes."""
        cls = type(value)
        self.kind(cls)
        reduced = _reduce(value)
        if reduced is None:
            self.unstable(value)
        elif isinstance(reduced, str):
            self.importable(value, reduced)
        else:
            function, arguments, state, items, pairs = (*reduced, None, None, None)[:5]
            self._ordered(b"reduced", [function, *arguments])
            self._state(_without_marks(cls, state))
            self._ordered(b"items", () if items is None else items)
            self._ordered(b"pairs", [] if pairs is None else [part for pair in pairs for part in pair])
            if not _reduces_as_object(cls) and self.hides_state(cls):
                self._attributes(value)

    def _state(self, state: object) -> None:
        """Add a pickle's state: the order in which attributes were set means nothing."""
        if type(state) is tuple and len(state) == 2 and all(part is None or _is_namespace(part) for part in state):
            for part in state:
                self.names(b"state", part or {})
        elif _is_namespace(state):
            self.names(b"state", state)  # type: ignore[arg-type]
        else:
            self.value(state)

    def _attributes(self, value: object) -> None:
        namespace = getattr(value, "__dict__", None)
        if _is_namespace(namespace):
            self.names(b"attributes", namespace)  # type: ignore[arg-type]


class _TooMuchError(Exception):
    """The value is larger than a walk is worth."""


def _without_marks(cls: type, state: object) -> object:
    """A state without what only this process can tell: Transformers marks configurations with a hash."""
    if type(state) is dict and _PROCESS_MARK in state and cls.__module__.startswith("transformers."):
        return {name: value for name, value in state.items() if name != _PROCESS_MARK}
    return state


def _is_namespace(value: object) -> bool:
    return type(value) is dict and all(type(key) is str for key in value)


def _reduces_as_object(cls: type) -> bool:
    """Whether pickling is left to `object`, whose state is every attribute and slot."""
    names = ("__reduce_ex__", "__reduce__", "__getstate__")
    return all(getattr(cls, name, None) is getattr(object, name, None) for name in names)


def _reduce(value: object) -> Any:
    """What ``pickle`` would ask of the object, or None where it has no answer."""
    try:
        registered = copyreg.dispatch_table.get(type(value))
        reduced = value.__reduce_ex__(4) if registered is None else registered(value)
    except Exception:  # objects say "cannot pickle" in many ways
        return None
    return reduced if isinstance(reduced, (str, tuple)) else None


def _integer(value: Any) -> bytes:
    return b"%x" % value


_ATOMS: dict[type, Callable[[Any], bytes]] = {
    type(None): lambda _: b"",
    type(...): lambda _: b"",
    type(NotImplemented): lambda _: b"",
    bool: _integer,
    int: _integer,
    float: lambda value: struct.pack("<d", value),
    complex: lambda value: struct.pack("<dd", value.real, value.imag),
    str: lambda value: value.encode("utf-8", "surrogatepass"),
    bytes: bytes,
}
