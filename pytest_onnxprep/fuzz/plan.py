"""The examples tried before anything random, and the ones kept from earlier runs."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping

from pytest_onnxprep.fuzz.corners import corner_sizes
from pytest_onnxprep.fuzz.example import Example, Maker


def corner_examples(maker: Maker, suspected: Iterable[Mapping[str, int]] = ()) -> list[Example]:
    """Every corner of the sizes with plain values, then every other recipe of each input at the traced sizes.

    Plain values show what a size breaks; zeros and ties, met at the same time, would hide it.

    Args:
        maker: signature and recipes.
        suspected: sizes that the exporter took no account of, by its own word; right after the traced ones.
    """
    first, *others = corner_sizes(maker.signature)
    known = {tuple(first.values()): first}
    for sizes in (*({**first, **sizes} for sizes in suspected), *others):
        if maker.legal(sizes):
            known.setdefault(tuple(sizes.values()), sizes)
    corners = list(known.values())
    examples = [maker.plain(sizes, seed) for seed, sizes in enumerate(corners)]
    for index in range(1, max((len(kinds) for kinds in maker.recipes.values()), default=1)):
        recipes = {name: kinds[index % len(kinds)] for name, kinds in maker.recipes.items()}
        examples.append(Example(corners[0], recipes, index))
    return examples


class Failures:
    """Examples that failed before, in Hypothesis's example database, which the active profile names or switches off.

    Args:
        title: of the test; one entry per test.
    """

    def __init__(self, title: str) -> None:
        import hypothesis

        self._database = hypothesis.settings().database if title else None
        self._key = f"onnxprep {title}".encode()

    def examples(self, maker: Maker) -> list[Example]:
        """What failed before and still fits the signature."""
        if self._database is None:
            return []
        found = []
        for entry in sorted(self._database.fetch(self._key)):
            example = _decode(entry)
            if example is not None and _fits(example, maker):
                found.append(example)
        return found

    def remember(self, example: Example) -> None:
        """Keep an example for the next run."""
        if self._database is not None and not example.sample:
            self._database.save(self._key, json.dumps(example.to_json(), sort_keys=True).encode())

    def forget(self, example: Example) -> None:
        """It no longer fails."""
        if self._database is not None:
            self._database.delete(self._key, json.dumps(example.to_json(), sort_keys=True).encode())


def _decode(entry: bytes) -> Example | None:
    try:
        kept = json.loads(entry)
        return Example(dict(kept["dims"]), dict(kept["values"]), int(kept["seed"]))
    except (ValueError, KeyError, TypeError):
        return None


def _fits(example: Example, maker: Maker) -> bool:
    """Whether the dims, the ranges and the recipes are still those of the test."""
    dims = maker.signature.dims
    return (
        set(example.sizes) == set(dims)
        and all(size in dims[name] for name, size in example.sizes.items())
        and set(example.recipes) == set(maker.recipes)
        and all(kind in maker.recipes[name] for name, kind in example.recipes.items())
        and maker.legal(example.sizes)
    )
