"""From one failing size to the rule behind it: "every h not divisible by 3"."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping

from pytest_onnxprep.fuzz.corners import edges
from pytest_onnxprep.fuzz.example import Example, Maker
from pytest_onnxprep.spec.dims import Dim

#: Sizes tried per dim.
_SIZES = 24
_LARGEST_DIVISOR = 8


def boundaries(
    example: Example, outcome: Callable[[Example], bool | None], maker: Maker, *, max_s: float = 3.0
) -> list[str]:
    """What has to hold of each dim for the example to fail; nothing of dims whose size makes no difference.

    Each dim is varied alone, the others and the values staying as they are.

    Args:
        example: fails.
        outcome: whether an example fails; None where the framework refuses it.
        maker: signature and ranges.
        max_s: seconds at most; a dim that was not finished is not spoken of.
    """
    deadline = time.monotonic() + max_s
    found: list[str] = []
    traced = maker.signature.trace_sizes()
    for name, dim in maker.signature.dims.items() if not example.sample else ():
        fails: dict[int, bool] = {}
        for size in _sizes(dim, example.sizes[name], traced[name]):
            if time.monotonic() > deadline:
                return found
            sizes = {**example.sizes, name: size}
            if not maker.legal(sizes):
                continue
            failed = True if size == example.sizes[name] else outcome(Example(sizes, example.recipes, example.seed))
            if failed is not None:
                fails[size] = failed
        rule = describe(name, fails, traced[name], {other: example.sizes[other] for other in traced if other != name})
        if rule:
            found.append(rule)
    return found


def describe(name: str, fails: Mapping[int, bool], traced: int, others: Mapping[str, int]) -> str:
    """The simplest rule that tells the failing sizes of a dim from the passing ones; empty where all fail.

    Args:
        name: of the dim.
        fails: size -> whether it fails.
        traced: the size the file was exported with.
        others: the sizes of the other dims.
    """
    bad = sorted(size for size, failed in fails.items() if failed)
    good = sorted(size for size, failed in fails.items() if not failed)
    if not good or not bad:
        return ""
    tried = f" (tried {min(fails)}-{max(fails)})"
    if good == [traced] and len(bad) > 1:
        return f"every {name} but {traced}, the size it was exported with{tried}"
    for other, size in others.items():
        if good == [size] and len(bad) > 1:
            return f"every {name} other than {other} (= {size}){tried}"
    if len(bad) == 1:
        return f"only {name} = {bad[0]}{tried}"
    if bad[0] > good[-1]:
        return f"every {name} from {bad[0]} on{tried}"
    if bad[-1] < good[0]:
        return f"every {name} up to {bad[-1]}{tried}"
    if len(good) == 1:
        return f"every {name} but {good[0]}{tried}"
    for divisor in range(2, _LARGEST_DIVISOR + 1):
        for text, holds in _divisions(name, divisor):
            if all(holds(size) == failed for size, failed in fails.items()):
                return text + tried
    shown = ", ".join(map(str, bad[:8])) + (", ..." if len(bad) > 8 else "")
    return f"{name} = {shown}{tried}"


def _divisions(name: str, divisor: int) -> Iterator[tuple[str, Callable[[int], bool]]]:
    if divisor == 2:
        yield f"every odd {name}", lambda size: size % 2 == 1
        yield f"every even {name}", lambda size: size % 2 == 0
        return
    yield f"every {name} not divisible by {divisor}", lambda size: size % divisor != 0
    yield f"every {name} divisible by {divisor}", lambda size: size % divisor == 0


def _sizes(dim: Dim, failing: int, traced: int) -> list[int]:
    """All sizes of a small range; of a large one its beginning, the neighbours of the failing size, and its edges."""
    step = dim.multiple_of
    every = range(dim.smallest_filled, dim.largest + 1, step)
    if len(every) <= _SIZES:
        return list(every)
    wanted = [failing, *(failing + offset * step for offset in (-1, 1, -2, 2, -3, 3)), *edges(dim, traced)]
    wanted += every[:12]
    return sorted(size for size in list(dict.fromkeys(wanted))[:_SIZES] if size in dim and size > 0)
