"""Named dims and the range each may take."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pytest_onnxprep.spec.errors import SpecError

_ACCEPTED = "accepted: (min, max) or Dim(min, max, multiple_of=..., example=...)"


@dataclass(frozen=True)
class Dim:
    """The sizes a named dim may take: every multiple of ``multiple_of`` in ``min..max``, both ends included.

    Args:
        min: smallest size, >= 0.
        max: largest size, >= ``min``.
        multiple_of: only multiples of this are drawn (an image net that halves five times needs 32).
        example: the size the exporter traces with; by default a small one that is neither 0 nor 1, because
            tracers specialise those.

    Raises:
        SpecError: the range is empty, or ``example`` lies outside it.
    """

    min: int
    max: int
    multiple_of: int = 1
    example: int | None = None

    def __post_init__(self) -> None:
        """Check the range as soon as it is written down."""
        for field in ("min", "max", "multiple_of", "example"):
            value = getattr(self, field)
            if (value is None and field == "example") or (isinstance(value, int) and not isinstance(value, bool)):
                continue
            raise SpecError(f"Dim {field} must be an integer, not {value!r}; {_ACCEPTED}")
        if self.min < 0 or self.max < self.min:
            raise SpecError(f"Dim range {self.min}..{self.max} is empty or negative; 0 <= min <= max is accepted")
        if self.multiple_of < 1:
            raise SpecError(f"Dim multiple_of must be at least 1, not {self.multiple_of}")
        if self.smallest > self.max:
            raise SpecError(f"no multiple of {self.multiple_of} lies in {self.min}..{self.max}")
        if self.example is not None and self.example not in self:
            raise SpecError(f"Dim example {self.example} is not one of its sizes ({self})")

    @property
    def smallest(self) -> int:
        """Smallest size that is a multiple."""
        return -(-self.min // self.multiple_of) * self.multiple_of

    @property
    def smallest_filled(self) -> int:
        """Smallest size that is not 0, where there is one."""
        return self.smallest or min(self.multiple_of, self.largest)

    @property
    def largest(self) -> int:
        """Largest size that is a multiple."""
        return self.max // self.multiple_of * self.multiple_of

    @property
    def trace_size(self) -> int:
        """The size to export with: ``example``, else the smallest size >= 2 (0 and 1 are specialised by tracers)."""
        if self.example is not None:
            return self.example
        wanted = -(-max(self.smallest, 2) // self.multiple_of) * self.multiple_of
        return min(wanted, self.largest)

    def __contains__(self, size: int) -> bool:
        return self.min <= size <= self.max and size % self.multiple_of == 0

    def __str__(self) -> str:
        text = f"{self.min}..{self.max}"
        return f"{text}, multiples of {self.multiple_of}" if self.multiple_of > 1 else text


DEFAULT_DIM = Dim(1, 8)


def parse_dim_ranges(dims: object) -> dict[str, Dim]:
    """Read the ``dims=`` argument of ``onnx_export``.

    Raises:
        SpecError: a name that is no identifier, or a value that is no range.
    """
    if dims is None:
        return {}
    if not isinstance(dims, Mapping):
        raise SpecError(f"dims must map names to ranges, not {dims!r}; {_ACCEPTED}")
    found: dict[str, Dim] = {}
    for name, value in dims.items():
        if not isinstance(name, str) or not name.isidentifier():
            raise SpecError(f"dims: {name!r} is not a dim name (a Python identifier is accepted)")
        try:
            found[name] = _parse_one(value)
        except SpecError as error:
            raise SpecError(f"dims[{name!r}]: {error}") from None
    return found


def _parse_one(value: object) -> Dim:
    if isinstance(value, Dim):
        return value
    if isinstance(value, (tuple, list)) and len(value) == 2:
        return Dim(value[0], value[1])
    raise SpecError(f"{value!r} is not a range; {_ACCEPTED}")
