"""How the stages of a pipeline hand their values on: by name, in order, or as the user maps them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from pytest_onnxprep.errors import ReferenceRefused, SourceError, closest
from pytest_onnxprep.sources.base import Arrays, Feeds, Source
from pytest_onnxprep.sources.load import load_source, one_line
from pytest_onnxprep.sources.python_function import PythonSource, load_unexported, parameters
from pytest_onnxprep.spec.composition import Loop, Stage
from pytest_onnxprep.spec.own_options import custom_op_libraries, with_found_libraries
from pytest_onnxprep.spec.shape import DimExpr
from pytest_onnxprep.spec.signature import Signature
from pytest_onnxprep.spec.tensor import TensorSpec

#: ``(stage, its inputs) -> its outputs``: by the framework, by ONNX Runtime, in float64.
Call = Callable[["LoadedStage", Arrays], Arrays]


@dataclass(frozen=True)
class LoadedStage:
    """A stage with its model loaded."""

    spec: Stage
    source: Source

    @property
    def name(self) -> str:
        """The stage's."""
        return self.spec.name

    @property
    def exported(self) -> bool:
        """Whether the ONNX pipeline runs a file in its place."""
        return self.spec.export

    def run(self, feeds: Feeds) -> Arrays:
        """Run the untouched model.

        Raises:
            ReferenceRefused: it does not take these sizes or values.
        """
        signature = self.signature_of(feeds)
        self.source.check_tried_out(feeds, signature)  # joints are looked at before anything is exported
        return self.source.run(feeds, signature)

    def signature_of(self, feeds: Feeds) -> Signature:
        """What these arrays are: enough for a source to run."""
        specs = {name: TensorSpec(_dtype(a), tuple(map(DimExpr, a.shape))) for name, a in feeds.items()}
        outputs = None if self.spec.outputs is None else dict.fromkeys(self.spec.outputs)
        return Signature(specs, outputs)

    def bind(self, values: Arrays, last: Arrays, *, first: bool) -> Arrays:
        """The stage's inputs.

        Args:
            values: the pipeline's inputs and every output so far, by name and by ``stage.name``.
            last: what the stage before gave; of the first stage, the pipeline's inputs.
            first: whether it is the first stage.

        Raises:
            SourceError: an input that nobody gives.
        """
        takes = self.spec.takes
        if takes is not None:
            named = takes.items() if isinstance(takes, Mapping) else ((_short(ref), ref) for ref in takes)
            return {name: self._look_up(ref, values) for name, ref in named}
        declared = self._declared
        if declared is not None and all(name in values for name in declared):
            return {name: values[name] for name in declared}
        names = declared or self._parameters
        if not names:
            return dict(last)
        given = {name: value for name, value in values.items() if "." in name}
        by_stage = {name.partition(".")[2] for name in given}
        if not first and all(name in by_stage for name in names):
            return {name: values[name] for name in names}
        if len(names) == len(last):
            return dict(last) if first else dict(zip(names, last.values(), strict=True))
        for name in names:
            if name not in values:
                raise SourceError(self._nobody_gives(name, values))
        return {name: values[name] for name in names}

    @cached_property
    def _declared(self) -> list[str] | None:
        if self.spec.inputs is not None:
            return list(self.spec.inputs)
        derived = None if isinstance(self.source, PythonSource) else self.source.derived_signature()
        return None if derived is None else list(derived.inputs)

    @cached_property
    def _parameters(self) -> list[str]:
        """What the function itself calls its inputs; empty where it does not say."""
        if isinstance(self.source, PythonSource):
            return parameters(self.source.model)
        forward = getattr(self.source.model, "forward", None)
        return parameters(forward) if callable(forward) else []

    def _look_up(self, ref: str, values: Arrays) -> np.ndarray:
        if ref not in values:
            raise SourceError(self._nobody_gives(ref, values))
        return values[ref]

    def _nobody_gives(self, name: str, values: Arrays) -> str:
        return (
            f"joint: stage {self.name!r} takes {name!r}, which no input and no earlier stage gives"
            f"{closest(name, values)} There are: {', '.join(values)}. "
            f"Map it: Stage(..., takes={{{name!r}: '<one of these>'}})"
        )


@dataclass(frozen=True)
class LoadedLoop:
    """A loop with the model of its body loaded."""

    spec: Loop
    body: LoadedStage

    @property
    def name(self) -> str:
        """The body's."""
        return self.body.name

    def run(self, values: Arrays, call: Call) -> Arrays:
        """Call the body until the condition holds.

        Raises:
            SourceError: a function of the user's raised, or names what is not there.
            ReferenceRefused: the body does not take what it is given.
        """
        spec = self.spec
        state = {name: np.asarray(value) for name, value in self._called("start", spec.start, values).items()}
        fixed = self._fixed(values, state)
        kept: dict[str, list[np.ndarray]] = {name: [] for name in spec.collect}
        outputs: Arrays = {}
        for _ in range(spec.max_steps):
            feeds = {**fixed, **state}
            order = self.body.spec.inputs or feeds
            for name in order:
                if name not in feeds:
                    raise SourceError(
                        f"loop {self.name!r}: the body takes {name!r}, which start does not give and takes= does not "
                        f"map; there are: {', '.join(feeds)}"
                    )
            feeds = {name: feeds[name] for name in order}
            outputs = call(self.body, feeds)
            for name, output in spec.collect.items():
                kept[name].append(self._output(output, outputs))
            if spec.until is not None and bool(self._called("until", spec.until, outputs)):
                break
            state = self._next(outputs, feeds)
        return {name: np.stack(found, axis=1) for name, found in kept.items()} if kept else outputs

    def _fixed(self, values: Arrays, state: Arrays) -> Arrays:
        """What stays the same for all steps."""
        takes = self.body.spec.takes
        if isinstance(takes, Mapping):
            wanted = {name: ref for name, ref in takes.items() if name not in state}
        elif takes is not None:
            wanted = {_short(ref): ref for ref in takes if _short(ref) not in state}
        elif self.body._declared is not None:
            wanted = {name: name for name in self.body._declared if name not in state}
        else:
            wanted = {name: name for name in self.body._parameters if name not in state}
        return {name: self.body._look_up(ref, values) for name, ref in wanted.items()}

    def _next(self, outputs: Arrays, feeds: Arrays) -> Arrays:
        feedback = self.spec.feedback
        if callable(feedback):
            made = self._called("feedback", feedback, outputs, feeds)
            return {name: np.asarray(value) for name, value in made.items()}
        return {name: self._output(output, outputs) for name, output in feedback.items()}

    def _output(self, name: str, outputs: Arrays) -> np.ndarray:
        if name not in outputs:
            raise SourceError(
                f"loop {self.name!r}: the body gives no {name!r}{closest(name, outputs)} "
                f"It gives: {', '.join(outputs)}."
            )
        return outputs[name]

    def _called(self, what: str, function: Callable[..., object], *arguments: Arrays) -> Arrays:
        try:
            made = function(*arguments)
        except Exception as error:
            raise ReferenceRefused(
                f"loop {self.name!r}: {what} raised {type(error).__name__}: {one_line(error)}"
            ) from error
        if what != "until" and not isinstance(made, Mapping):
            raise SourceError(f"loop {self.name!r}: {what} must return {{input: array}}, not {type(made).__name__}")
        return made  # type: ignore[return-value]


def load_stage(spec: Stage, base: Path | None) -> LoadedStage:
    """Load a stage's model.

    Raises:
        SourceError: it cannot be had; the message names the stage.
    """
    try:
        source = load_source(spec.source, base=base) if spec.export else load_unexported(spec.source, base)
    except SourceError as error:
        hint = ""
        if spec.export and callable(spec.source) and "needs arguments" in str(error):
            hint = "\nA function of arrays stays in Python: Stage(function, export=False)."
        raise SourceError(f"stage {spec.name!r}: {error}{hint}") from error
    spec = replace(spec, options=with_found_libraries(spec.options, base))
    source.equip(custom_op_libraries(spec.options))
    return LoadedStage(spec, source)


def _short(ref: str) -> str:
    """``text.embedding`` goes in as ``embedding``."""
    return ref.rpartition(".")[2] or ref


def _dtype(array: np.ndarray) -> str:
    return "string" if array.dtype.kind in "OSU" else array.dtype.name
