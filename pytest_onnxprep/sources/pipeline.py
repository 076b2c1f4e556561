"""A pipeline as a source: its stages, each in its own framework, one after another."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pytest_onnxprep.errors import ReferenceRefused, SourceError, closest
from pytest_onnxprep.sources.base import Arrays, Double, Feeds, Source, name_outputs
from pytest_onnxprep.sources.custody import Belonging
from pytest_onnxprep.sources.python_function import load_unexported
from pytest_onnxprep.sources.source_code import Digest, code_digest
from pytest_onnxprep.sources.wiring import Call, LoadedLoop, LoadedStage, load_stage
from pytest_onnxprep.spec.composition import Loop, Pipeline
from pytest_onnxprep.spec.own_options import custom_op_libraries
from pytest_onnxprep.spec.signature import Signature
from pytest_onnxprep.spec.tolerance import EPSILON


class ComposedSource(Source):
    """What pipelines and ensembles have in common: several models, each with a state and a fingerprint of its own."""

    #: The models, by name; and the one the whole is held to, where that is another.
    parts: dict[str, LoadedStage]
    whole: Source | None = None

    def answer(self, feeds: Feeds, call: Call) -> Arrays:
        """The outputs under their natural names, where ``call`` runs the parts."""
        raise NotImplementedError

    def try_out(self, feeds: Feeds, signature: Signature) -> str:
        """See `Source.try_out`: each part on the first inputs that it gets."""
        if self.whole is not None:
            return self.whole.try_out(feeds, signature)
        with contextlib.suppress(SourceError, ReferenceRefused):  # what a part refuses, `run` tells
            self.answer(feeds, lambda stage, inputs: stage.run(inputs))
        tried = {name: part.source.memo.get("tried_out") for name, part in self.parts.items()}
        return next((f"its part {name!r}: {failed}" for name, failed in tried.items() if failed), "")

    def run(self, feeds: Feeds, signature: Signature) -> Arrays:
        """See `Source.run`: the undivided model where there is one, else the parts in their own frameworks."""
        if self.whole is not None:
            return self.whole.run(feeds, signature)
        return self.run_parts(feeds, signature)

    def run_parts(self, feeds: Feeds, signature: Signature) -> Arrays:
        """The parts in their own frameworks."""
        return self.named(self.answer(feeds, lambda stage, inputs: stage.run(inputs)), signature)

    def named(self, natural: Arrays, signature: Signature) -> Arrays:
        """The declared outputs, under their declared names."""
        return dict(name_outputs(list(natural.items()), signature, self.label))

    def in_double(self, signature: Signature) -> Double | None:
        """See `Source.in_double`: the parts in float64; None where one of them has no such form."""
        if self.whole is not None:
            return self.whole.in_double(signature)
        return self.double_of(signature, self.part_in_double)

    def double_of(self, signature: Signature, call: Call) -> Double:
        """The whole in float64, where ``call`` runs a part so or raises `NoDoubleError`."""

        def run(feeds: Feeds) -> Arrays | None:
            try:
                return self.named(self.answer(feeds, call), signature)
            except (NoDoubleError, ReferenceRefused, SourceError):
                return None

        return run

    def part_in_double(self, stage: LoadedStage, feeds: Arrays) -> Arrays:
        """A part of the framework's side in float64; a function in Python takes its arrays as they come.

        Raises:
            NoDoubleError: it has no such form.
        """
        if stage.source.framework == "python":
            return stage.run(feeds)
        key = f"in_double {stage.name}"
        if key not in self.memo:
            self.memo[key] = stage.source.in_double(stage.signature_of(feeds))
        double: Double | None = self.memo[key]
        outputs = None if double is None else double(feeds)
        if outputs is None:
            raise NoDoubleError
        return dict(outputs)

    def answers_apart(self, feeds: Feeds, signature: Signature) -> Iterator[tuple[Arrays, Arrays]]:
        """See `Source.answers_apart`: what every part gives is moved by a few rounding errors of its largest element.

        That parts scores which are equal in the framework, and only there.
        """
        plain = self.run_parts(feeds, signature)
        for seed, steps in enumerate((1, 1, 4, 4)):
            rng = np.random.default_rng(seed)

            def call(stage: LoadedStage, inputs: Arrays, rng: Any = rng, steps: int = steps) -> Arrays:
                return {name: _moved(value, steps, rng) for name, value in stage.run(inputs).items()}

            yield plain, self.named(self.answer(feeds, call), signature)

    def fingerprint(self) -> Digest:
        """The parts' own, in order."""
        digest, stable = hashlib.blake2b(digest_size=20), True
        for source in self._sources():
            found = source.fingerprint()
            digest.update(found.hexdigest.encode())
            stable = stable and found.stable
        code = code_digest([type(self)])
        return Digest(digest.hexdigest(), stable and code.stable)

    def state(self) -> Mapping[str, np.ndarray]:
        """The parts' states, by ``part/name``."""
        return {f"{name}/{key}": value for name, s in self._named_sources() for key, value in s.state().items()}

    def restore(self, state: Mapping[str, np.ndarray]) -> None:
        """Put back what `state` returned."""
        for name, source in self._named_sources():
            prefix = f"{name}/"
            own = {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}
            source.restore(own)

    def belongings(self) -> list[Belonging]:
        """Of all parts."""
        return [belonging for source in self._sources() for belonging in source.belongings()]

    def mode_hint(self) -> str:
        """The first part's that has one."""
        hints = ((name, source.mode_hint()) for name, source in self._named_sources())
        return next((f"{name}: {hint}" for name, hint in hints if hint), "")

    def equip(self, libraries: Sequence[str]) -> bool:
        """See `Source.equip`: the options of the test are those of all parts that have none of their own."""
        common = [stage.source for stage in self.parts.values() if not custom_op_libraries(stage.spec.options)]
        if self.whole is not None:
            common.append(self.whole)
        matters = [source.equip(libraries) for source in common]
        return any(matters)

    def built(self) -> bool:
        """Whether all parts are."""
        return all(source.built() for source in self._sources())

    def release(self) -> None:
        """Of all parts."""
        for source in self._sources():
            source.release()

    def _named_sources(self) -> list[tuple[str, Source]]:
        found = [(name, stage.source) for name, stage in self.parts.items()]
        return found if self.whole is None else [*found, ("reference", self.whole)]

    def _sources(self) -> list[Source]:
        return [source for _, source in self._named_sources()]


def _moved(array: np.ndarray, steps: int, rng: np.random.Generator) -> np.ndarray:
    eps = EPSILON.get(array.dtype.name)
    if eps is None or not array.size or not np.isfinite(array).all():
        return array
    scale = float(np.abs(array.astype(np.float64)).max())
    noise = steps * eps * scale * rng.uniform(-1, 1, array.shape)
    return np.asarray((array.astype(np.float64) + noise).astype(array.dtype))


class NoDoubleError(Exception):
    """A part has no form in float64."""


class PipelineSource(ComposedSource):
    """The stages of a `Pipeline`, loaded."""

    framework = "pipeline"

    def __init__(self, pipeline: Pipeline, base: Path | None = None) -> None:
        self.model = pipeline
        self.stages: list[LoadedStage | LoadedLoop] = []
        for part in pipeline.stages:
            if isinstance(part, Loop):
                self.stages.append(LoadedLoop(part, load_stage(part.body, base)))
            else:
                self.stages.append(load_stage(part, base))
        bodies = [stage.body if isinstance(stage, LoadedLoop) else stage for stage in self.stages]
        self.parts = {stage.name: stage for stage in bodies}
        self.whole = None if pipeline.reference is None else load_unexported(pipeline.reference, base)
        self.label = f"Pipeline of {', '.join(stage.name for stage in self.stages)}"

    def derived_signature(self) -> Signature | None:
        """What the first stage takes, where that is known."""
        first = self.stages[0]
        if isinstance(first, LoadedLoop) or first.spec.takes is not None:
            return None
        if first.spec.specs is not None:
            return Signature(first.spec.specs)
        return first.source.derived_signature()

    def answer(self, feeds: Feeds, call: Call) -> Arrays:
        """Run the stages one after another.

        Raises:
            SourceError: a joint to which nobody gives what it takes.
            ReferenceRefused: a stage that stays in its framework does not take what it is given.
        """
        values: Arrays = dict(feeds)
        last: Arrays = dict(feeds)
        for index, stage in enumerate(self.stages):
            if isinstance(stage, LoadedLoop):
                last = stage.run(values, call)
            else:
                inputs = stage.bind(values, last, first=index == 0)
                last = call(stage, inputs)
            values |= last
            values |= {f"{stage.name}.{name}": value for name, value in last.items()}
        wanted = self.model.outputs
        if wanted is None:
            return last
        for name in wanted:
            if name not in values:
                raise SourceError(
                    f"Pipeline(outputs=): no stage gives {name!r}{closest(name, values)} "
                    f"There are: {', '.join(values)}."
                )
        return {self._plain(name): values[name] for name in wanted}

    def _plain(self, name: str) -> str:
        """The name of an output that was chosen as ``stage.output``."""
        stage, dot, output = name.partition(".")
        return f"{stage}_{output}" if dot and stage in self.parts else name
