"""What Hypothesis draws: sizes, recipes and a seed, several examples at a time."""

from __future__ import annotations

from typing import Any

from pytest_onnxprep.fuzz.example import Example, Maker
from pytest_onnxprep.spec.errors import SpecError

_SEEDS = 1 << 16

#: Examples per Hypothesis test case, and bytes drawn for each. One draw for many examples keeps Hypothesis's
#: bookkeeping (0.3 ms a case, 30 us a draw) away from models that take no longer than that.
BATCH = 50
_BYTES = 16


def draw_examples(maker: Maker, count: int) -> list[Example]:
    """Draw up to ``count`` examples with Hypothesis; fewer where expressions make sizes negative.

    The active Hypothesis profile and ``--hypothesis-seed`` apply; there is no deadline, no database, and no
    shrinking by Hypothesis (`pytest_onnxprep.fuzz.shrink` does that, corners included, within a time limit).
    """
    import hypothesis
    from hypothesis import HealthCheck, Phase, strategies

    if count <= 0:
        return []
    drawn: dict[tuple[int, ...], Example] = {}
    batch = min(BATCH, count)

    def collect(data: bytes) -> None:
        for start in range(0, len(data), _BYTES):
            numbers = unpack(maker, int.from_bytes(data[start : start + _BYTES], "little"))
            example = decode(maker, numbers)
            if example is not None:
                drawn.setdefault(numbers, example)

    limits = hypothesis.settings(
        parent=hypothesis.settings.get_profile("default"),
        derandomize=hypothesis.settings().derandomize,
        max_examples=-(-count // batch) + 1,  # the first case is always all zeros: one example, many times
        deadline=None,
        database=None,
        phases=(Phase.generate,),
        suppress_health_check=list(HealthCheck),
        print_blob=False,
    )
    limits(hypothesis.given(strategies.binary(min_size=_BYTES * batch, max_size=_BYTES * batch))(collect))()
    return list(drawn.values())[:count]


def numbers_strategy(maker: Maker) -> Any:
    """A tuple of integers: a multiple per dim, then recipes and seed packed into one number."""
    from hypothesis import strategies

    dims = [
        strategies.integers(dim.smallest // dim.multiple_of, dim.largest // dim.multiple_of)
        for dim in maker.signature.dims.values()
    ]
    combinations = 1
    for kinds in maker.recipes.values():
        combinations *= len(kinds)
    return strategies.tuples(*dims, strategies.integers(0, combinations * _SEEDS - 1))


def unpack(maker: Maker, packed: int) -> tuple[int, ...]:
    """The numbers of `numbers_strategy` out of one large integer."""
    numbers = []
    for dim in maker.signature.dims.values():
        low, high = dim.smallest // dim.multiple_of, dim.largest // dim.multiple_of
        packed, offset = divmod(packed, high - low + 1)
        numbers.append(low + offset)
    combinations = 1
    for kinds in maker.recipes.values():
        combinations *= len(kinds)
    return (*numbers, packed % (combinations * _SEEDS))


def decode(maker: Maker, numbers: tuple[int, ...]) -> Example | None:
    """The example behind drawn numbers; None where an expression makes a size negative."""
    *multiples, packed = numbers
    signature = maker.signature
    sizes = {
        name: multiple * dim.multiple_of
        for (name, dim), multiple in zip(signature.dims.items(), multiples, strict=True)
    }
    recipes: dict[str, str] = {}
    for name, kinds in maker.recipes.items():
        packed, index = divmod(packed, len(kinds))
        recipes[name] = kinds[index]
    try:
        signature.shapes(sizes)
    except SpecError:
        return None
    return Example(sizes, recipes, packed)
