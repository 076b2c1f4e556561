"""Cut a sorted list into few groups, each of which costs what its last element costs."""

from __future__ import annotations

import math
from collections.abc import Sequence


def partition(counts: Sequence[float], costs: Sequence[float], groups: int) -> tuple[float, list[int]]:
    """The cheapest way to serve every element by the end of its group.

    Dynamic programming over the ends, exact: O(groups * n**2).

    Args:
        counts: how often each element occurs, elements in ascending order.
        costs: what serving one occurrence at this element costs.
        groups: groups at most, >= 1.

    Returns:
        The total cost, and the index of every group's last element, ascending.
    """
    n = len(counts)
    if not n:
        return 0.0, []
    before = [0.0]
    for count in counts:
        before.append(before[-1] + count)
    #: best[j]: the cost of the first j elements, with the groups used so far
    best = [0.0] + [math.inf] * n
    cuts: list[list[int]] = []
    for _ in range(min(groups, n)):
        made, cut = [0.0] + [math.inf] * n, [0] * (n + 1)
        for end in range(1, n + 1):
            for start in range(end):
                cost = best[start] + (before[end] - before[start]) * costs[end - 1]
                if cost < made[end]:
                    made[end], cut[end] = cost, start
        best = made
        cuts.append(cut)
    ends, end = [], n
    for cut in reversed(cuts):
        if end == 0:
            break
        ends.append(end - 1)
        end = cut[end]
    return best[n], ends[::-1]
