"""Which of two models is slower, and by how much, from calls made side by side.

Each pair gives one number: the logarithm of how long the model took for each second of the other. What the machine
does to both cancels; what is left is judged by its median, with the sign test's interval, which assumes nothing about
the shape of the noise.
"""

from __future__ import annotations

import functools
import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from pytest_onnxprep.stats.binomial import binomial_cdf
from pytest_onnxprep.stats.sequential import Ruling

#: Number of pairs at each look. The error allowance is split evenly over them.
PAIR_LOOKS = (12, 24, 48, 96, 192, 384)
#: Chance of passing a model whose ratio is exactly at, or beyond, its limit.
ALPHA_PASS = 0.05
#: Chance of failing a model whose ratio is exactly at, or within, its limit.
ALPHA_FAIL = 0.01
#: What one process cannot know: memory layout and the like favour one of two equal models by this much (log ratio).
FLOOR = 0.005
#: Fewest pairs that are judged at all; fewer cannot reach the allowance of a fail.
FEWEST_PAIRS = 7


@dataclass(frozen=True, slots=True)
class PairedDecision:
    """What the pairs say.

    Args:
        ruling: the outcome.
        ratio: seconds of the model for each second of the other, median over the pairs.
        interval: its 95 % confidence interval, the floor not included; an unknown end is 0 or infinite.
        pairs: how many there were.
        reason: of an inconclusive outcome.
    """

    ruling: Ruling
    ratio: float
    interval: tuple[float, float]
    pairs: int
    reason: str = ""


def sign_interval(values: Sequence[float], alpha: float) -> tuple[float, float]:
    """One-sided lower and upper confidence bounds on the median, by the sign test.

    ``[v_(r), v_(n-1-r)]`` with the largest ``r`` for which ``P(Bin(n, 1/2) <= r) <= alpha``.

    Args:
        values: in any order.
        alpha: error allowed for each bound, strictly between 0 and 0.5.

    Returns:
        ``(low, high)``; infinite where so few values give no bound.

    Raises:
        ValueError: no values, or ``alpha`` out of range.
    """
    if not values or not 0 < alpha < 0.5:
        raise ValueError(f"need at least one value and 0 < alpha < 0.5, not {len(values)} and {alpha!r}")
    ordered, n = sorted(values), len(values)
    rank = _rank(n, alpha)
    return (-math.inf, math.inf) if rank < 0 else (ordered[rank], ordered[n - 1 - rank])


@functools.lru_cache(maxsize=1024)
def _rank(n: int, alpha: float) -> int:
    """The largest ``r`` with ``P(Bin(n, 1/2) <= r) <= alpha``; -1 if there is none."""
    rank = -1
    while binomial_cdf(rank + 1, n, 0.5) <= alpha:
        rank += 1
    return rank


def judge_pairs(
    logs: Sequence[float], limit: float, *, look: int, final: bool = False, floor: float = FLOOR
) -> PairedDecision:
    """Pass if the ratio is within its limit, fail if it is beyond, else continue or, at the final look, give up.

    Args:
        logs: per pair, ``ln(seconds of the model / seconds of the other)``.
        limit: largest ratio allowed: 1.03 for "at most 3 % slower", 1 / 1.5 for "at least 1.5 times as fast".
        look: number of this look, from 1. If the first is also the final one it may spend the whole allowance.
        final: whether there will be no further pairs.
        floor: how far two equal models may seem apart in one process, as a log ratio.

    Raises:
        ValueError: no pairs, a limit that is not positive, or a look number outside 1..6.
    """
    if not logs or not limit > 0:
        raise ValueError(f"need at least one pair and a positive limit, not {len(logs)} and {limit!r}")
    if not 1 <= look <= len(PAIR_LOOKS):
        raise ValueError(f"look must lie in 1..{len(PAIR_LOOKS)}, not {look!r}")
    looks = 1 if final and look == 1 else len(PAIR_LOOKS)
    bound = math.log(limit)
    shown = sign_interval(logs, 0.025)
    ratio, interval = math.exp(statistics.median(logs)), (math.exp(shown[0]), math.exp(shown[1]))
    ruling, reason = Ruling.CONTINUE, ""
    if len(logs) >= FEWEST_PAIRS:
        if sign_interval(logs, ALPHA_PASS / looks)[1] + floor < bound:
            ruling = Ruling.PASS
        elif sign_interval(logs, ALPHA_FAIL / looks)[0] - floor > bound:
            ruling = Ruling.FAIL
    if ruling is Ruling.CONTINUE and final:
        ruling = Ruling.INCONCLUSIVE
        reason = _why(len(logs), interval, limit, floor)
    return PairedDecision(ruling, ratio, interval, len(logs), reason)


def _why(pairs: int, interval: tuple[float, float], limit: float, floor: float) -> str:
    """The reason in words."""
    if pairs < FEWEST_PAIRS:
        return f"a comparison needs at least {FEWEST_PAIRS} pairs; {pairs} were made"
    low, high = interval
    unknown = f"two equal models may seem {100 * floor:.2g} % apart"
    return f"too close to call (x{low:.3f}..{high:.3f} around x{limit:.3f}; {unknown})"
