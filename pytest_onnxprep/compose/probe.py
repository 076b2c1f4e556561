"""What crosses the joints of a composition: every part's inputs and outputs, recorded while the frameworks run it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from pytest_onnxprep.errors import ReferenceRefused, SourceError
from pytest_onnxprep.fuzz.corners import edges
from pytest_onnxprep.fuzz.example import Example, Maker
from pytest_onnxprep.sources.base import Arrays
from pytest_onnxprep.sources.pipeline import ComposedSource
from pytest_onnxprep.sources.wiring import LoadedStage
from pytest_onnxprep.spec.shape import DimExpr
from pytest_onnxprep.spec.signature import Signature

#: Sizes at which the joints are looked at before anything is exported.
PROBES = 16
#: Bytes of recorded walks that are kept: the parts of one composition share them.
KEPT_BYTES = 64_000_000


@dataclass(frozen=True)
class Passage:
    """One call of a part: what went in and what came out."""

    sizes: Mapping[str, int]
    inputs: Arrays
    outputs: Arrays


@dataclass
class Walk:
    """One run of the whole in the frameworks; a part inside a loop is called several times."""

    passages: dict[str, list[Passage]] = field(default_factory=dict)
    outputs: Arrays = field(default_factory=dict)

    @property
    def nbytes(self) -> int:
        """What it takes to keep it."""
        found = [p for passages in self.passages.values() for p in passages]
        return sum(array.nbytes for passage in found for array in (*passage.inputs.values(), *passage.outputs.values()))


class Recorder:
    """Runs a composition in its frameworks and records the joints.

    Args:
        source: the composition.
        signature: of the whole.
    """

    def __init__(self, source: ComposedSource, signature: Signature) -> None:
        self.source = source
        self.signature = signature
        self.maker = Maker(signature)
        self._kept: dict[tuple[Any, ...], Walk] = {}
        self._bytes = 0

    def walk(self, example: Example) -> Walk:
        """The joints of one example.

        Raises:
            ReferenceRefused: a part does not take what it is given.
            SourceError: a joint to which nobody gives what it takes.
        """
        # A part has the dims of the whole in its own order, and a key holds sizes without their names.
        sizes = {name: example.sizes[name] for name in self.signature.dims}
        example = Example(sizes, example.recipes, example.seed)
        kept = self._kept.get(example.key)
        if kept is not None:
            return kept
        walk = Walk()

        def call(stage: LoadedStage, inputs: Arrays) -> Arrays:
            outputs = stage.run(inputs)
            walk.passages.setdefault(stage.name, []).append(Passage(example.sizes, dict(inputs), dict(outputs)))
            return outputs

        walk.outputs = self.source.answer(self.maker.feeds(example), call)
        if self._bytes + walk.nbytes <= KEPT_BYTES:
            self._bytes += walk.nbytes
            self._kept[example.key] = walk
        return walk

    def probe(self) -> list[Walk]:
        """The joints at sizes that tell the dims apart, the traced ones first.

        Raises:
            SourceError: the frameworks refuse the example inputs.
        """
        walks: list[Walk] = []
        for index, sizes in enumerate(probe_sizes(self.maker)):
            try:
                walks.append(self.walk(self.maker.plain(sizes, index)))
            except ReferenceRefused as error:
                if not index:
                    shown = ", ".join(f"{name}={size}" for name, size in sizes.items()) or "its fixed sizes"
                    raise SourceError(
                        f"{self.source.label} refuses its own example inputs at {shown}: {error}\nCorrect inputs= "
                        "(value ranges: TensorSpec(low=, high=)), the ranges in dims=, or the joint (takes=)."
                    ) from error
        return walks


def probe_sizes(maker: Maker) -> list[dict[str, int]]:
    """The traced sizes, then every dim alone at two others, then all dims at their smallest and at their largest.

    An axis that follows one dim is told from one that follows another, or none.
    """
    dims, traced = maker.signature.dims, maker.signature.trace_sizes()
    found = [traced]
    for name, dim in dims.items():
        others = [size for size in edges(dim, traced[name]) if size != traced[name]]
        found += [{**traced, name: size} for size in (others[-1:] + others[:1])]
    found.append({name: dim.smallest_filled for name, dim in dims.items()})
    found.append({name: dim.largest for name, dim in dims.items()})
    distinct = {tuple(sizes.values()): sizes for sizes in found if maker.legal(sizes)}
    return list(distinct.values())[:PROBES]


def observed_dims(
    found: Mapping[str, list[tuple[Mapping[str, int], tuple[int, ...]]]], names: Mapping[str, Any]
) -> dict[str, tuple[DimExpr, ...]]:
    """Dims that explain the shapes that were seen.

    An axis that always has one size is that number; one that always is as long as a named dim is that dim; axes that
    always are equally long share a name of their own.

    Args:
        found: tensor -> the sizes it was seen at, and its shape there.
        names: the named dims.

    Raises:
        SourceError: a tensor whose rank changes.
    """
    own: dict[tuple[int, ...], DimExpr] = {}
    shapes: dict[str, tuple[DimExpr, ...]] = {}
    for tensor, seen in found.items():
        ranks = {len(shape) for _, shape in seen}
        if len(ranks) > 1:
            raise SourceError(
                f"joint: {tensor!r} has {' or '.join(map(str, sorted(ranks)))} axes, depending on the sizes"
            )
        dims: list[DimExpr] = []
        for axis in range(ranks.pop()):
            lengths = tuple(shape[axis] for _, shape in seen)
            dims.append(_explained(lengths, [sizes for sizes, _ in seen], names) or _own(own, lengths, tensor, axis))
        shapes[tensor] = tuple(dims)
    return shapes


def _explained(lengths: tuple[int, ...], sizes: list[Mapping[str, int]], names: Mapping[str, Any]) -> DimExpr | None:
    """A number, or a named dim; None where neither fits."""
    if len(set(lengths)) == 1:
        return DimExpr(lengths[0])
    for name in names:
        if all(at.get(name) == length for at, length in zip(sizes, lengths, strict=True)):
            return DimExpr(name)
    return None


def _own(own: dict[tuple[int, ...], DimExpr], lengths: tuple[int, ...], tensor: str, axis: int) -> DimExpr:
    stem = "".join(character if character.isalnum() else "_" for character in tensor)
    stem = stem if stem[:1].isalpha() else f"t_{stem}"
    return own.setdefault(lengths, DimExpr(f"{stem}_{axis}"))


def dtype_name(array: np.ndarray) -> str:
    """The dtype as the shape language writes it."""
    return "string" if array.dtype.kind in "OSU" else array.dtype.name
