"""How figures are read from records that may lack them, and written for people."""

from __future__ import annotations

import math
from typing import Any


def number(value: object) -> float | None:
    """Read a figure; None where it is missing or is no number (``"inf"`` and ``"nan"`` are, as JSON keeps them so)."""
    if value is None or isinstance(value, bool):
        return None
    if isinstance(value, str) and value.strip().lower().lstrip("+-") not in ("inf", "nan"):
        return None
    try:
        return float(value)  # type: ignore[arg-type]  # numpy scalars have __float__
    except (TypeError, ValueError, OverflowError):
        return None


def human(value: float | None) -> str:
    """Three significant digits in plain notation, ``1.2e-06`` outside of 0.001..1 000 000, ``-`` for nothing.

    Never more than three decimals, so that 0.0151 does not take more room than 15.1.
    """
    if value is None:
        return "-"
    size = abs(value)
    if size == 0:
        return "0"
    if not math.isfinite(size):
        return f"{value:g}"
    if size < 0.9995e-3 or size >= 999_999.5:
        return f"{value:.1e}"
    if size < 0.1:
        return f"{value:.3f}".rstrip("0")
    return f"{value:.0f}" if size >= 999.5 else f"{value:.3g}"


def short_exponent(text: str) -> str:
    """``1e-4`` for ``1.0e-04``: how people write the tolerances they choose."""
    mantissa, mark, exponent = text.partition("e")
    return f"{mantissa.removesuffix('.0')}e{int(exponent)}" if mark else text


def budget(value: float | None) -> str:
    """A limit as a person would have written it: ``15``, ``1e-4``."""
    if value is not None and 0 < abs(value) < 1e-2:
        return short_exponent(f"{value:.1e}")
    return short_exponent(human(value))


def one_line(text: object) -> str:
    """``text`` with every run of white space as one space."""
    return " ".join(str(text).split())


def middle(text: str, width: int) -> str:
    """``text`` cut in the middle to ``width``: both ends tell names apart, the middle seldom does."""
    if len(text) <= width:
        return text
    if width <= 4:
        return text[: max(width, 0)]
    head = (width - 2) // 2
    return f"{text[:head]}..{text[len(text) - (width - 2 - head) :]}"


def plain(value: Any, *, lossless: bool = False) -> Any:
    """``value`` as JSON can hold it: numpy scalars and arrays, paths, enums, sets and tuples included.

    Args:
        value: anything.
        lossless: keep infinities and NaN as strings (``"inf"``); otherwise they become None.
    """
    if value is None or isinstance(value, (bool, str)):
        return str(value) if isinstance(value, str) else value
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else f"{value:g}" if lossless else None
    if hasattr(value, "items"):
        return {str(name): plain(item, lossless=lossless) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item, lossless=lossless) for item in value]
    if isinstance(value, (set, frozenset)):
        return [plain(item, lossless=lossless) for item in sorted(value, key=str)]
    if callable(getattr(value, "tolist", None)):  # numpy, ml_dtypes, torch: scalars and arrays alike
        listed = value.tolist()
        return str(value) if type(listed) is type(value) else plain(listed, lossless=lossless)
    if hasattr(value, "value") and hasattr(value, "name"):  # an enum
        return plain(value.value, lossless=lossless)
    return str(value)
