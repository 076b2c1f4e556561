"""What Hypothesis draws: sizes, recipes and a seed, several examples at a time."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from pytest_onnxprep.fuzz.example import Example, Maker

_SEEDS = 1 << 16

#: Examples per Hypothesis test case, and bytes drawn for each. One draw for many examples keeps Hypothesis's
#: bookkeeping (0.3 ms a case, 30 us a draw) away from models that take no longer than that.
BATCH = 50


def draw_examples(maker: Maker, count: int) -> list[Example]:
    """Draw up to ``count`` examples with Hypothesis; fewer where expressions make sizes negative.

    The active Hypothesis profile and ``--hypothesis-seed`` apply; there is no deadline, no database, and no
    shrinking by Hypothesis (`pytest_onnxprep.fuzz.shrink` does that, corners included, within a time limit).
    """
    import hypothesis
    from hypothesis import Phase, strategies

    if count <= 0:
        return []
    drawn: dict[tuple[int, ...], Example | None] = {}
    batch = min(BATCH, count)
    width = _width(maker)

    def collect(data: bytes) -> None:  # Hypothesis reads the source of this on every run: no line too many
        _collect(maker, data, width, drawn)

    # The first case is always all zeros: one example, many times.
    limits = _settings(-(-count // batch) + 1, Phase.generate)
    limits(hypothesis.given(strategies.binary(min_size=width * batch, max_size=width * batch))(collect))()
    return [example for example in drawn.values() if example is not None][:count]


def _collect(maker: Maker, data: bytes, width: int, drawn: dict[tuple[int, ...], Example | None]) -> None:
    for start in range(0, len(data), width):
        numbers = unpack(maker, int.from_bytes(data[start : start + width], "little"))
        if numbers not in drawn:
            drawn[numbers] = decode(maker, numbers)


def _width(maker: Maker) -> int:
    """Bytes per example: each costs Hypothesis half a microsecond."""
    space = maker.combinations * _SEEDS
    for dim in maker.signature.dims.values():
        space *= dim.largest // dim.multiple_of - dim.smallest // dim.multiple_of + 1
    return space.bit_length() // 8 + 1


def climb(maker: Maker, count: int, score: Callable[[Example], float]) -> None:
    """Let Hypothesis draw examples one by one and steer them towards a larger score with `hypothesis.target`.

    Args:
        maker: signature and recipes.
        count: examples.
        score: runs an example and gives its error, finite and >= 0.
    """
    import hypothesis
    from hypothesis import Phase

    def visit(numbers: tuple[int, ...]) -> None:
        example = decode(maker, numbers)
        if example is not None:
            # Errors span many orders of magnitude: their exponent is what can be climbed.
            hypothesis.target(math.log10(min(score(example), 1e30) + 1e-12), label="error")

    given: Any = hypothesis.given(numbers_strategy(maker))
    _settings(count, Phase.generate, Phase.target)(given(visit))()


def _settings(count: int, *phases: Any) -> Any:
    import hypothesis
    from hypothesis import HealthCheck

    return hypothesis.settings(
        parent=hypothesis.settings.get_profile("default"),
        derandomize=hypothesis.settings().derandomize,
        max_examples=count,
        deadline=None,
        database=None,
        phases=phases,
        suppress_health_check=list(HealthCheck),
        print_blob=False,
    )


def numbers_strategy(maker: Maker) -> Any:
    """A tuple of integers: a multiple per dim, then recipes and seed packed into one number."""
    from hypothesis import strategies

    dims = [
        strategies.integers(dim.smallest // dim.multiple_of, dim.largest // dim.multiple_of)
        for dim in maker.signature.dims.values()
    ]
    return strategies.tuples(*dims, strategies.integers(0, maker.combinations * _SEEDS - 1))


def unpack(maker: Maker, packed: int) -> tuple[int, ...]:
    """The numbers of `numbers_strategy` out of one large integer."""
    numbers = []
    for dim in maker.signature.dims.values():
        low = dim.smallest // dim.multiple_of
        packed, offset = divmod(packed, dim.largest // dim.multiple_of - low + 1)
        numbers.append(low + offset)
    numbers.append(packed % (maker.combinations * _SEEDS))
    return tuple(numbers)


def decode(maker: Maker, numbers: tuple[int, ...]) -> Example | None:
    """The example behind drawn numbers; None where an expression makes a size negative."""
    packed = numbers[-1]
    sizes = {name: number * dim.multiple_of for (name, dim), number in zip(maker.signature.dims.items(), numbers)}  # noqa: B905 - the last number is no size
    if not maker.legal(sizes):
        return None
    recipes: dict[str, str] = {}
    for name, kinds in maker.choices.items():
        packed, index = divmod(packed, len(kinds))
        recipes[name] = kinds[index]
    return Example(sizes, recipes, packed)
