"""Numbers as messages show them."""

from __future__ import annotations

import math


def in_ms(seconds: float) -> str:
    """Seconds as milliseconds with three digits and no unit: ``"3.21"``, ``"18.4"``, ``"1204"``."""
    ms = seconds * 1e3
    return f"{ms:.0f}" if ms >= 100 else f"{ms:#.3g}".rstrip(".")


def interval_ms(interval: tuple[float, float]) -> str:
    """An interval in seconds as milliseconds: ``"9.80..11.3"``, with an unknown end named as such."""
    low, high = interval
    if math.isinf(low):
        return "unknown" if math.isinf(high) else f"at most {in_ms(high)}"
    return f"{in_ms(low)} or more" if math.isinf(high) else f"{in_ms(low)}..{in_ms(high)}"


def percent(share: float) -> str:
    """A share of 1 as ``"19 %"``, with one more digit below 10 %."""
    return f"{100 * share:.0f} %" if share == 0 or share >= 0.1 else f"{100 * share:.1f} %"
