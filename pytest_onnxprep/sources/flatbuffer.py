"""Read FlatBuffers without trusting them: every offset is checked before it is followed.

The readers that ``flatc`` generates follow whatever a file says, and the C++ ones crash on it. Here a damaged file is a
`Damaged`, in time and memory bounded by its size.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

import numpy as np

#: More tables than this are followed in no model: a damaged vector of offsets may name one table a million times.
_MOST = 5_000_000


class Damaged(ValueError):
    """The file is not what its own offsets say."""


class Buffer:
    """The bytes of one file, and how many steps may still be taken in it."""

    def __init__(self, data: bytes | memoryview) -> None:
        self.data = memoryview(data)
        self._left = _MOST

    def unpack(self, code: str, at: int) -> int | float:
        """One little-endian number."""
        size = struct.calcsize(f"<{code}")
        self.check(at, size)
        value: int | float = struct.unpack_from(f"<{code}", self.data, at)[0]
        return value

    def check(self, at: int, size: int) -> None:
        """Refuse a place outside the file."""
        self._left -= 1
        if self._left < 0:
            raise Damaged("it refers to more parts than it can hold")
        if at < 0 or size < 0 or at + size > len(self.data):
            raise Damaged(f"an offset leads {'before its start' if at < 0 else 'beyond its end'}")

    def root(self) -> Table:
        """The root table."""
        return Table(self, int(self.unpack("I", 0)))


class Table:
    """One table: fields by their number in the schema."""

    def __init__(self, buffer: Buffer, at: int) -> None:
        self._buffer = buffer
        self._at = at
        self._fields = at - int(buffer.unpack("i", at))
        self._size = int(buffer.unpack("H", self._fields))
        if self._size < 4:
            raise Damaged("a table has no table of fields")
        buffer.check(self._fields, self._size)

    def _place(self, number: int) -> int:
        """Where a field lies; 0 where it is left out."""
        slot = 4 + 2 * number
        if slot + 2 > self._size:
            return 0
        offset = int(self._buffer.unpack("H", self._fields + slot))
        return self._at + offset if offset else 0

    def has(self, number: int) -> bool:
        """Whether a field is there."""
        return self._place(number) != 0

    def number(self, number: int, code: str, default: int = 0) -> int:
        """An integer field; ``code`` is that of `struct`."""
        place = self._place(number)
        return int(self._buffer.unpack(code, place)) if place else default

    def table(self, number: int) -> Table | None:
        """A table, or None where it is left out."""
        place = self._place(number)
        return Table(self._buffer, place + int(self._buffer.unpack("I", place))) if place else None

    def text(self, number: int) -> str:
        """A string; empty where it is left out."""
        return bytes(self.array(number, np.uint8)).decode("utf-8", "replace")

    def array(self, number: int, dtype: type[np.generic]) -> np.ndarray:
        """A vector of numbers; empty where it is left out."""
        kind = np.dtype(dtype)
        start, length = self._vector(number, kind.itemsize)
        return np.frombuffer(self._buffer.data, kind, length, start) if length else np.zeros(0, kind)

    def tables(self, number: int) -> Iterator[Table]:
        """A vector of tables."""
        start, length = self._vector(number, 4)
        for place in range(start, start + 4 * length, 4):
            yield Table(self._buffer, place + int(self._buffer.unpack("I", place)))

    def _vector(self, number: int, width: int) -> tuple[int, int]:
        place = self._place(number)
        if not place:
            return 0, 0
        start = place + int(self._buffer.unpack("I", place))
        length = int(self._buffer.unpack("I", start))
        self._buffer.check(start + 4, length * width)
        return start + 4, length
