"""The signature of a part of a composition, and whether what crosses its joint is what was declared."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from pytest_onnxprep.artifacts.onnx_model import OnnxModel
from pytest_onnxprep.compose.probe import Passage, Recorder, Walk, dtype_name, observed_dims
from pytest_onnxprep.errors import ContractViolation, ParityError, ReferenceRefused, SpecError, closest
from pytest_onnxprep.fuzz.example import Example, Maker
from pytest_onnxprep.runtime.session import TensorInfo, session_types
from pytest_onnxprep.sources.base import Arrays
from pytest_onnxprep.sources.wiring import LoadedStage
from pytest_onnxprep.spec.signature import Signature
from pytest_onnxprep.spec.tensor import TensorSpec


@dataclass(frozen=True)
class Joint:
    """What one part takes, as it was seen.

    Args:
        stage: its name.
        spec: input -> dtype and shape, declared or seen; ``low`` and ``high`` only where they were declared.
        free: dims that no dim of the whole explains.
        traced: the inputs to export with.
        figures: for the report.
        outputs: names of what it gives.
    """

    stage: str
    spec: Mapping[str, TensorSpec]
    free: frozenset[str]
    traced: Arrays
    figures: tuple[Mapping[str, Any], ...]
    outputs: tuple[str, ...]

    @property
    def file_outputs(self) -> list[str]:
        """What the file calls its outputs: a tensor that goes in and comes out grown cannot have one name twice."""
        return [f"{name}_out" if name in self.spec else name for name in self.outputs]


def read_joint(stage: LoadedStage, walks: list[Walk], dims: Mapping[str, Any]) -> Joint:
    """Settle what a part takes.

    Raises:
        ContractViolation: what arrives is not what the stage was declared to take.
        ReferenceRefused: the part was never reached.
    """
    passages = [passage for walk in walks for passage in walk.passages.get(stage.name, ())]
    if not passages:
        raise ReferenceRefused(f"stage {stage.name!r} was not reached at any of the sizes tried")
    declared = stage.spec.specs or {}
    for name in declared:
        if name not in passages[0].inputs:
            raise SpecError(
                f"stage {stage.name!r}: inputs={{{name!r}: ...}} is not one of the inputs it is given: "
                f"{', '.join(passages[0].inputs)}{closest(name, passages[0].inputs)}"
            )
    seen = {name: [(p.sizes, p.inputs[name].shape) for p in passages] for name in passages[0].inputs}
    shapes = observed_dims(seen, dims)
    spec = {name: declared.get(name) or TensorSpec(_dtype(passages, name), shapes[name]) for name in seen}
    problems = [text for passage in passages for text in breaches(stage.name, declared, passage)]
    if problems:
        listed = "\n".join(f"  - {text}" for text in dict.fromkeys(problems))
        raise ContractViolation.fail(
            f"joint broken: {problems[0]}", f"what crosses the joint is not what was declared:\n{listed}"
        )
    free = frozenset(name for one in spec.values() for name in one.names if name not in dims)
    natural = tuple(passages[0].outputs)
    traced = _to_trace(stage, spec, dims, walks[0].passages.get(stage.name) or passages)
    return Joint(stage.name, spec, free, traced, _figures(stage, passages), natural)


def _dtype(passages: list[Passage], name: str) -> str:
    return dtype_name(passages[0].inputs[name])


def _to_trace(
    stage: LoadedStage,
    spec: Mapping[str, TensorSpec],
    dims: Mapping[str, Any],
    passages: list[Passage],
) -> Arrays:
    """Inputs to export with, none of whose dynamic axes is 0 or 1 long: tracers treat these in their own way.

    In a loop that is a later step, whose cache is not empty. Where no step will do (a prompt without a cache, then
    single tokens with one), inputs are made up as they were declared.
    """

    def short(passage: Passage) -> int:
        sizes = [
            (dim, n) for name, one in spec.items() for dim, n in zip(one.shape, passage.inputs[name].shape, strict=True)
        ]
        return sum(not dim.is_static and n < 2 for dim, n in sizes)

    best = min(passages[:8], key=short)
    if short(best) and stage.spec.inputs is not None:
        used = {name for one in spec.values() for name in one.names}
        maker = Maker(Signature(spec, dims={name: dim for name, dim in dims.items() if name in used}))
        made = maker.feeds(maker.plain(maker.signature.trace_sizes()))
        try:
            stage.run(made)
        except ReferenceRefused:
            return best.inputs
        return made
    return best.inputs


def breaches(stage: str, declared: Mapping[str, TensorSpec], passage: Passage) -> Iterable[str]:
    """What is wrong with the values that cross a joint: dtype, rank, fixed sizes, range."""
    at = ", ".join(f"{name}={size}" for name, size in passage.sizes.items()) or "fixed sizes"
    for name, spec in declared.items():
        if name not in passage.inputs:
            continue
        array = passage.inputs[name]
        where = f"{stage}.{name} at {at}"
        if dtype_name(array) != spec.dtype:
            yield f"{where} is {dtype_name(array)}, declared {spec}"
        elif array.ndim != len(spec.shape):
            yield f"{where} has the shape {list(array.shape)}, declared {spec}"
        else:
            for axis, dim in enumerate(spec.shape):
                known = set(dim.names) <= passage.sizes.keys()
                if known and dim.evaluate(passage.sizes) != array.shape[axis]:
                    yield f"{where} has axis {axis} of {array.shape[axis]}, declared {dim} of {spec}"
            yield from _out_of_range(where, spec, array)


def _out_of_range(where: str, spec: TensorSpec, array: np.ndarray) -> Iterable[str]:
    if array.dtype.kind not in "fiu" or not array.size:
        return
    low, high = array.min(), array.max()
    if spec.low is not None and not low >= spec.low:
        yield f"{where} reaches down to {low:.6g}, declared low={spec.low:g}"
    over = spec.high is not None and (high >= spec.high if "int" in spec.dtype else not high <= spec.high)
    if over:
        yield f"{where} reaches up to {high:.6g}, declared high={spec.high:g}"


def _figures(stage: LoadedStage, passages: list[Passage]) -> tuple[Mapping[str, Any], ...]:
    """Name, dtype, shapes and range of every input, as they crossed the joint."""
    found = []
    for name in passages[0].inputs:
        arrays = [passage.inputs[name] for passage in passages]
        ranks = {array.shape for array in arrays}
        numbers = [array for array in arrays if array.dtype.kind in "fiu" and array.size]
        found.append(
            {
                "stage": stage.name,
                "input": name,
                "dtype": dtype_name(arrays[0]),
                "shapes": [list(shape) for shape in sorted(ranks)[:4]],
                "low": min((float(array.min()) for array in numbers), default=None),
                "high": max((float(array.max()) for array in numbers), default=None),
            }
        )
    return tuple(found)


def export_signature(joint: Joint, dims: Mapping[str, Any]) -> Signature:
    """What is exported: the joint, with the ranges of the dims that are the whole's."""
    used = {name for spec in joint.spec.values() for name in spec.names}
    own = {name: dim for name, dim in dims.items() if name in used}
    return Signature(joint.spec, dict.fromkeys(joint.file_outputs), own, free=joint.free)


def check_signature(joint: Joint, exported: Signature, recorder: Recorder, stage: LoadedStage) -> Signature:
    """What is checked: the same part on values that come from the stages before it, over all sizes of the whole."""
    feed = _Feed(recorder, stage)
    return Signature(joint.spec, exported.outputs, recorder.signature.dims, feed, joint.free)


class _Feed:
    """``generate`` of a part: what the stages before it make of an example of the whole.

    Half of the examples are plain; of a loop, any step may be the one.
    """

    def __init__(self, recorder: Recorder, stage: LoadedStage) -> None:
        self._recorder = recorder
        self._stage = stage

    def __call__(self, sizes: Mapping[str, int], rng: np.random.Generator) -> Arrays:
        maker = self._recorder.maker
        seed, plain, step = int(rng.integers(1 << 16)), bool(rng.integers(2)), int(rng.integers(1 << 16))
        example = maker.plain(sizes, seed)
        if not plain:
            recipes = {name: kinds[int(rng.integers(len(kinds)))] for name, kinds in maker.choices.items()}
            example = Example(sizes, recipes, seed)
        try:
            passages = self._recorder.walk(example).passages
        except ReferenceRefused:
            example = maker.plain(sizes, seed)
            passages = self._recorder.walk(example).passages
        found = passages.get(self._stage.name)
        if not found:
            raise ReferenceRefused(f"stage {self._stage.name!r} was not reached at {example}")
        passage = found[step % len(found)]
        problem = next(iter(breaches(self._stage.name, self._stage.spec.specs or {}, passage)), "")
        if problem:
            raise ParityError.fail(f"joint broken: {problem} ({example})")
        return dict(passage.inputs)


def check_joints(parts: Mapping[str, OnnxModel], joints: Mapping[str, Joint], walks: list[Walk]) -> None:
    """Hold what a file gives to what the next file takes: dtype, rank and fixed sizes.

    The framework may convert on the way (a float64 scalar, an integer taken for a float); a runtime does not. Values
    are followed from the part that made them by their identity in the recorded walk.

    Raises:
        ContractViolation: two files that do not fit together.
    """
    made: dict[int, tuple[str, str]] = {}
    problems: dict[str, None] = {}
    sides = {name: session_types(part.session) for name, part in parts.items()}
    types = {name: [{info.name: info for info in side} for side in both] for name, both in sides.items()}
    for stage, passages in walks[0].passages.items():
        for name, array in passages[0].inputs.items():
            origin = made.get(id(array))
            if origin is None or stage not in types or origin[0] not in types:
                continue
            giver, taker = types[origin[0]][1].get(origin[1]), types[stage][0].get(name)
            if giver is not None and taker is not None:
                problems.update(dict.fromkeys(_misfit(origin, giver, stage, taker)))
        for name, array in passages[0].outputs.items():
            made[id(array)] = (stage, joints[stage].file_outputs[joints[stage].outputs.index(name)])
    if problems:
        listed = "\n".join(f"  - {problem}" for problem in problems)
        raise ContractViolation.fail(
            f"joint broken: {next(iter(problems))}", f"two exported stages do not fit together:\n{listed}"
        )


def _misfit(origin: tuple[str, str], giver: TensorInfo, stage: str, taker: TensorInfo) -> Iterable[str]:
    joint = f"{origin[0]}.{origin[1]} -> {stage}.{taker.name}"
    if giver.dtype != taker.dtype:
        yield f"{joint}: the file gives {giver.dtype}, the next one takes {taker.dtype}"
    if giver.shape and len(giver.shape) != len(taker.shape):
        yield f"{joint}: the file gives {len(giver.shape)} axes {giver.shape}, the next one takes {taker.shape}"
        return
    for axis, (given, taken) in enumerate(zip(giver.shape, taker.shape, strict=False)):
        if isinstance(given, int) and isinstance(taken, int) and given != taken:
            yield f"{joint}: axis {axis} is {given} in the file that gives it, {taken} in the one that takes it"
