"""Several models that answer as one: pipelines of stages, loops inside them, and ensembles of members."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from pytest_onnxprep.spec.check_requests import read_parity
from pytest_onnxprep.spec.errors import SpecError, closest
from pytest_onnxprep.spec.tensor import TensorSpec, parse_tensor_spec

COMBINATIONS = ("mean", "weighted", "vote")


@dataclass(frozen=True, eq=False)
class Stage:
    """One stage of a `Pipeline`, or one member of an `Ensemble`.

    Args:
        source: what ``onnx_export`` takes as a source; with ``export=False`` also a plain function of arrays.
        name: for messages, reports and ``onnx_model.stages``; taken from the source where it is left out.
        inputs: what goes in, as in ``onnx_export``: the joint is held to dtype, shape and range. Left out, the joint
            is what the stages before it give.
        outputs: names of the outputs.
        takes: stage input -> where it comes from (an input of the pipeline, an output, or ``"stage.output"``); or the
            latter alone, in order. Left out, values are taken by name, else from the stage before, in order.
        export: False leaves the stage in its framework, or in Python: the reference and the ONNX pipeline both call it.
        exporter: of this stage, where it is not the one of the test.
        opset: of this stage.
        options: of this stage's exporter.
        parity: arguments of ``parity`` for this stage alone; by default its tolerance is derived.
    """

    source: Any
    name: str = ""
    inputs: Mapping[str, Any] | None = None
    outputs: Any = None
    takes: Any = None
    export: bool = True
    exporter: str | None = None
    opset: int | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    parity: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Read what was written."""
        if isinstance(self.source, (Stage, Loop, Pipeline, Ensemble)):
            raise SpecError(f"Stage: a {type(self.source).__name__} is no source of a stage; give it as it is")
        if not isinstance(self.export, bool):
            raise SpecError(f"Stage: export must be True or False, not {self.export!r}")
        object.__setattr__(self, "name", _checked_name("Stage", self.name or name_of(self.source)))
        object.__setattr__(self, "inputs", _read_specs(self.name, self.inputs))
        object.__setattr__(self, "outputs", _read_names(self.name, "outputs", self.outputs))
        object.__setattr__(self, "takes", _read_takes(self.name, self.takes))
        try:
            read_parity(**self.parity)
        except (SpecError, TypeError) as error:
            raise SpecError(f"stage {self.name!r}: parity: {error}") from None

    @property
    def specs(self) -> dict[str, TensorSpec] | None:
        """What was declared of the inputs."""
        return None if self.inputs is None else dict(self.inputs)


@dataclass(frozen=True, eq=False)
class Loop:
    """A stage that is called again and again: greedy decoding, iterative refinement.

    Args:
        body: the stage that is called. What it takes beside the fed-back inputs stays the same for all steps.
        start: ``f(values) -> {input: array}``, the fed-back inputs of the first step, made of all values so far.
        feedback: input -> the output of the step before that goes in there, or ``f(outputs, inputs) -> {input:
            array}``.
        max_steps: steps at most.
        until: ``f(outputs) -> bool``, asked after every step; left out, all steps are made.
        collect: name -> an output of the body, of which every step's value is kept, along a new axis 1. Without it,
            the loop gives what its last step gives.
    """

    body: Stage
    start: Callable[[Mapping[str, Any]], Mapping[str, Any]]
    feedback: Any
    max_steps: int
    until: Callable[[Mapping[str, Any]], Any] | None = None
    collect: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse what no loop could use."""
        if not isinstance(self.body, Stage):
            object.__setattr__(self, "body", Stage(self.body))
        if not callable(self.start):
            raise SpecError(f"Loop: start must be f(values) -> {{input: array}}, not {self.start!r}")
        if not callable(self.feedback) and not isinstance(self.feedback, Mapping):
            raise SpecError(
                f"Loop: feedback must map inputs of the body to its outputs, as in {{'past': 'present'}}, or be "
                f"f(outputs, inputs) -> {{input: array}}, not {self.feedback!r}"
            )
        if self.until is not None and not callable(self.until):
            raise SpecError(f"Loop: until must be f(outputs) -> bool, not {self.until!r}")
        if isinstance(self.max_steps, bool) or not isinstance(self.max_steps, int) or self.max_steps < 1:
            raise SpecError(f"Loop: max_steps must be a whole number >= 1, not {self.max_steps!r}")
        if not isinstance(self.collect, Mapping):
            raise SpecError(f"Loop: collect must map names to outputs of the body, not {self.collect!r}")

    @property
    def name(self) -> str:
        """The body's."""
        return self.body.name


class _Composition:
    """What pipelines and ensembles have in common."""


@dataclass(frozen=True, eq=False)
class Pipeline(_Composition):
    """Stages that hand their outputs on: a source for ``onnx_export``, whose stages are exported apart.

    Args:
        stages: in the order they run: sources, `Stage` or `Loop`, pairs ``(name, source)``, or a mapping of these.
        outputs: names of the values that are the answer; by default all outputs of the last stage.
        reference: the undivided model to hold the whole to, or a function of arrays; by default the stages themselves,
            run in their frameworks.
    """

    stages: Sequence[Any]
    outputs: Any = None
    reference: Any = None

    def __post_init__(self) -> None:
        """Read what was written."""
        found = _read_parts("Pipeline", self.stages)
        if not any(stage_of(part).export for part in found):
            raise SpecError("Pipeline: no stage is exported; leave out export=False for at least one")
        object.__setattr__(self, "stages", found)
        object.__setattr__(self, "outputs", _read_names("Pipeline", "outputs", self.outputs))


@dataclass(frozen=True, eq=False)
class Ensemble(_Composition):
    """Members that answer the same question: a source for ``onnx_export``, whose members are exported apart.

    Args:
        members: sources or `Stage`; all have the same outputs.
        combine: ``"mean"`` of floats, ``"weighted"`` (the same, with ``weights``), ``"vote"`` (the class with most
            votes: each member's largest element along the last axis, or its integers), or
            ``f([outputs of a member, ...]) -> outputs``.
        weights: one number per member, for the mean or the vote.
        reference: what the combined answer is held to: a model, or a function of arrays; by default the members, run
            in their frameworks.
    """

    members: Sequence[Any]
    combine: Any = "mean"
    weights: Sequence[float] | None = None
    reference: Any = None

    def __post_init__(self) -> None:
        """Read what was written."""
        found = _read_parts("Ensemble", self.members)
        for part in found:
            if isinstance(part, Loop) or not part.export or part.takes is not None:
                raise SpecError(f"Ensemble: member {part.name!r} must be exported as it is: no loop, export= or takes=")
        if not callable(self.combine) and self.combine not in COMBINATIONS:
            raise SpecError(
                "Ensemble: combine must be 'mean', 'weighted', 'vote' or f(outputs of the members), not "
                f"{self.combine!r}{closest(str(self.combine), COMBINATIONS)}"
            )
        if self.combine == "weighted" and self.weights is None:
            raise SpecError("Ensemble: combine='weighted' needs weights=[one number per member]")
        if self.weights is not None:
            object.__setattr__(self, "weights", _read_weights(self.weights, len(found), callable(self.combine)))
        object.__setattr__(self, "members", found)


def stage_of(part: Stage | Loop) -> Stage:
    """The stage itself, or the body of a loop."""
    return part.body if isinstance(part, Loop) else part


def name_of(source: Any) -> str:
    """What to call a source: ``build_backbone`` is ``backbone``, ``models/head.onnx`` is ``head``."""
    inner = getattr(source, "func", source)
    named = getattr(inner, "__name__", "")
    if named and named != "<lambda>":
        return str(named).removeprefix("build_").removeprefix("make_") or str(named)
    if isinstance(source, str) or hasattr(source, "__fspath__"):
        return str(source).replace("\\", "/").rstrip("/").rpartition("/")[2].partition(".")[0]
    return "" if named else type(inner).__name__.lower()


def _read_parts(kind: str, parts: Any) -> tuple[Any, ...]:
    what = "stages" if kind == "Pipeline" else "members"
    parts = list(parts.items()) if isinstance(parts, Mapping) else parts
    if not isinstance(parts, Sequence) or isinstance(parts, str) or len(parts) < (1 if kind == "Pipeline" else 2):
        least = "at least one stage" if kind == "Pipeline" else "at least two members"
        raise SpecError(f"{kind}: a list of {what} is needed, {least}, not {parts!r}")
    found: list[Any] = []
    taken: dict[str, int] = {}
    for index, part in enumerate(parts):
        if isinstance(part, _Composition):
            raise SpecError(f"{kind}: a {type(part).__name__} within a {kind} is not taken; list its parts")
        named, part = _named(part)
        read = part if isinstance(part, (Stage, Loop)) else Stage(part)
        read = _renamed(read, _checked_name(kind, named)) if named else read
        name = read.name or f"{what.removesuffix('s')}{index}"
        taken[name] = taken.get(name, 0) + 1
        if taken[name] > 1:
            name = f"{name}{taken[name]}"
        found.append(_renamed(read, name))
    return tuple(found)


def _named(part: Any) -> tuple[str, Any]:
    """``("head", build_head)`` names a part."""
    return part if isinstance(part, tuple) and len(part) == 2 and isinstance(part[0], str) else ("", part)


def _renamed(part: Any, name: str) -> Any:
    if isinstance(part, Loop):
        return replace(part, body=replace(part.body, name=name))
    return replace(part, name=name)


def _checked_name(kind: str, name: Any) -> str:
    if not isinstance(name, str) or "." in name or "/" in name:
        raise SpecError(f"{kind}: name must be text without dots and slashes, not {name!r}")
    return name


def _read_specs(stage: str, inputs: Any) -> dict[str, TensorSpec] | None:
    if inputs is None:
        return None
    if not isinstance(inputs, Mapping):
        raise SpecError(f"stage {stage!r}: inputs must map names to 'dtype[dims]', not {inputs!r}")
    try:
        return {name: parse_tensor_spec(value) for name, value in inputs.items()}
    except SpecError as error:
        raise SpecError(f"stage {stage!r}: inputs: {error}") from None


def _read_names(stage: str, what: str, names: Any) -> tuple[str, ...] | None:
    if names is None:
        return None
    found = (names,) if isinstance(names, str) else tuple(names) if isinstance(names, Sequence) else ()
    if not found or not all(isinstance(name, str) for name in found) or len(set(found)) != len(found):
        raise SpecError(f"{stage}: {what} must be a list of different names, not {names!r}")
    return found


def _read_takes(stage: str, takes: Any) -> Mapping[str, str] | tuple[str, ...] | None:
    if takes is None:
        return None
    if isinstance(takes, Mapping):
        if takes and all(isinstance(part, str) for pair in takes.items() for part in pair):
            return dict(takes)
    else:
        return _read_names(f"stage {stage!r}", "takes", takes)
    raise SpecError(
        f"stage {stage!r}: takes must map inputs to values, as in {{'x': 'backbone.output'}}, not {takes!r}"
    )


def _read_weights(weights: Any, count: int, own: bool) -> tuple[float, ...]:
    if own:
        raise SpecError("Ensemble: weights= goes with combine='mean' or 'vote'; a function of your own knows its own")
    numbers = tuple(weights) if isinstance(weights, Sequence) else ()
    if len(numbers) != count or not all(isinstance(w, (int, float)) and w >= 0 for w in numbers) or not sum(numbers):
        raise SpecError(f"Ensemble: weights must be {count} numbers >= 0 that are not all 0, not {weights!r}")
    return tuple(float(weight) for weight in numbers)
