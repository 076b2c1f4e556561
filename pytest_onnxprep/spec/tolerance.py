"""How far a float may be from its reference."""

from __future__ import annotations

import math
from dataclasses import dataclass

from pytest_onnxprep.spec.errors import SpecError

#: Machine epsilon of every float dtype: 2 ** -(mantissa bits).
EPSILON = {"float16": 2.0**-10, "bfloat16": 2.0**-7, "float32": 2.0**-23, "float64": 2.0**-52}


@dataclass(frozen=True)
class Tolerance:
    """numpy's rule per element: ``|actual - expected| <= atol + rtol * |expected|``.

    ``atol=None, rtol=None`` asks for the tolerance of the dtype (`for_dtype`). One number given alone leaves the
    other at 0, so ``Tolerance(atol=1e-4)`` is a plain absolute bound.
    """

    atol: float | None = None
    rtol: float | None = None

    def __post_init__(self) -> None:
        """Refuse what no comparison could use."""
        for name in ("atol", "rtol"):
            value = getattr(self, name)
            if value is None:
                continue
            number = isinstance(value, (int, float)) and not isinstance(value, bool)
            if not number or not math.isfinite(value) or value < 0:
                raise SpecError(f"{name} must be a finite number >= 0, not {value!r}")

    @property
    def is_derived(self) -> bool:
        """Whether no numbers were given."""
        return self.atol is None and self.rtol is None

    def resolve(self, dtype: str, scale: float) -> tuple[float, float]:
        """Return ``(atol, rtol)`` for an output.

        Args:
            dtype: the output's dtype; a non-float dtype is compared exactly.
            scale: largest finite magnitude of the reference output; a derived absolute tolerance grows with it,
                because an element near zero carries the rounding of the large terms it was summed from.
        """
        if dtype not in EPSILON:
            return 0.0, 0.0
        if not self.is_derived:
            return self.atol or 0.0, self.rtol or 0.0
        # 1024 eps is 1.2e-4 for float32: measured parity of the zoo lies below 100 eps of the output's own scale.
        # Half precision has no room for that: 1024 eps of float16 is 100 %, so there the root of eps is the bound.
        # Small outputs are mostly differences of larger terms, whose rounding they carry: magnitude 1/16 is the floor.
        eps = EPSILON[dtype]
        return min(128 * eps, eps**0.5 / 4) * max(scale, 2.0**-4), min(1024 * eps, eps**0.5)
