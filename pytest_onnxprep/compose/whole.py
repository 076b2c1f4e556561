"""Exports the parts of a pipeline or an ensemble and puts them together."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from pytest_onnxprep.artifacts.composed_model import ComposedModel, Explanation, RunPart
from pytest_onnxprep.artifacts.onnx_model import OnnxModel
from pytest_onnxprep.compose.apart import apart, is_apart
from pytest_onnxprep.compose.joints import Joint, check_joints, check_signature, export_signature, read_joint
from pytest_onnxprep.compose.probe import Recorder, Walk
from pytest_onnxprep.errors import ExporterError, Finding, OnnxPrepError, ReferenceRefused, SourceError
from pytest_onnxprep.exporters.workshop import Workshop
from pytest_onnxprep.sources.base import Arrays, Feeds
from pytest_onnxprep.sources.pipeline import ComposedSource, NoDoubleError
from pytest_onnxprep.sources.wiring import LoadedStage
from pytest_onnxprep.spec.layout import Layout
from pytest_onnxprep.spec.signature import Signature
from pytest_onnxprep.spec.variant import Variant


class Whole:
    """A `Composition` of a composed source: the source's own way to answer, with files in the place of its models."""

    def __init__(self, source: ComposedSource, signature: Signature, outputs: Mapping[str, tuple[str, ...]]) -> None:
        self.kind = source.framework
        self._source = source
        self._signature = signature
        self._outputs = outputs

    def _own_names(self, part: str, outputs: Arrays) -> Arrays:
        """What a file gives, under the names the framework gives it."""
        return dict(zip(self._outputs[part], outputs.values(), strict=True))

    def answer(self, feeds: Feeds, run: RunPart) -> dict[str, np.ndarray]:
        """See `Composition.answer`; what is not exported runs in its framework."""

        def call(stage: LoadedStage, inputs: Arrays) -> Arrays:
            return self._own_names(stage.name, run(stage.name, inputs)) if stage.exported else stage.run(inputs)

        return self._source.named(self._source.answer(feeds, call), self._signature)

    def answer_in_double(self, feeds: Feeds, run: RunPart) -> dict[str, np.ndarray] | None:
        """See `Composition.answer_in_double`."""

        def call(stage: LoadedStage, inputs: Arrays) -> Arrays:
            if not stage.exported:
                return self._source.part_in_double(stage, inputs)
            try:
                return self._own_names(stage.name, run(stage.name, inputs))
            except LookupError as error:
                raise NoDoubleError from error

        return self._source.double_of(self._signature, call)(feeds)

    def explain(self, model: ComposedModel, feeds: Feeds, expected: Feeds) -> Explanation:
        """Follow the example through the parts: the frameworks on one side, the files on the other."""
        framework: list[tuple[str, Arrays]] = []
        files: list[tuple[str, Arrays]] = []

        def in_framework(stage: LoadedStage, inputs: Arrays) -> Arrays:
            framework.append((stage.name, stage.run(inputs)))
            return framework[-1][1]

        def in_files(stage: LoadedStage, inputs: Arrays) -> Arrays:
            if stage.exported:
                outputs = self._own_names(stage.name, model.parts[stage.name].run(inputs))
            else:
                outputs = stage.run(inputs)
            files.append((stage.name, outputs))
            return outputs

        try:
            own = self._source.named(self._source.answer(feeds, in_framework), self._signature)
            self._source.answer(feeds, in_files)
        except Exception as error:
            return Explanation([("stages", f"could not be followed: {type(error).__name__}: {error}"[:300])])
        rows = [(f"after {name}", apart(a, b)) for (name, a), (_, b) in zip(framework, files, strict=False)]
        if len(framework) != len(files):
            rows.append(("steps", f"{len(framework)} in the framework, {len(files)} in ONNX Runtime"))
        rows = rows if len(rows) <= 8 else [*rows[:7], ("...", f"{len(rows) - 7} more calls"), rows[-1]]
        if self._source.whole is not None:
            rows.append(("parts against reference", apart(expected, own)))
            if is_apart(expected, own):
                return Explanation(
                    rows, f"the {self.kind} is not its reference: in their own frameworks the parts differ as well"
                )
        return Explanation(rows, "every part agrees on its own inputs")


def compose(
    workshop: Workshop, source: ComposedSource, signature: Signature, variant: Variant, domains: tuple[str, ...]
) -> ComposedModel:
    """Export the parts of a composition, once per variant, and check the joints.

    Raises:
        Finding: a part's export failed or broke its contract, or a joint is not what it should be.
        OnnxPrepError: a part cannot be had, or its exporter does not take it.
    """
    memo = source.memo
    key = f"composed {signature.canonical()} {variant} {domains} {workshop.provider}"
    made = memo.get(key)
    if made is None:
        try:
            made = _Assembly(workshop, source, signature).make(variant, domains)
        except Finding as finding:
            made = finding
        memo[key] = made
    if isinstance(made, Finding):
        raise made.with_traceback(None)
    found: ComposedModel = made
    return found


class _Assembly:
    """One composition, being exported."""

    def __init__(self, workshop: Workshop, source: ComposedSource, signature: Signature) -> None:
        self.workshop = workshop
        self.source = source
        self.signature = signature

    def make(self, variant: Variant, domains: tuple[str, ...]) -> ComposedModel:
        """Export every part and put them together."""
        recorder, walks = self._recorded()
        named = self.signature.with_outputs(self._outputs(walks))
        parts: dict[str, OnnxModel] = {}
        joints: dict[str, Joint] = {}
        for name, stage in self.source.parts.items():
            try:
                joints[name] = read_joint(stage, walks, self.signature.dims)
            except ReferenceRefused as error:
                raise SourceError(f"{self.source.label}: {error}") from error
            if stage.exported:
                parts[name] = self._part(stage, joints[name], recorder, variant, domains)
        check_joints(parts, joints, walks)
        provenance = _provenance(self.source, parts, [found for joint in joints.values() for found in joint.figures])
        return ComposedModel(
            Whole(self.source, named, {name: joint.outputs for name, joint in joints.items()}),
            parts,
            named,
            self.source,
            _told(variant, parts),
            provenance,
            provider=self.workshop.provider,
        )

    def _recorded(self) -> tuple[Recorder, list[Walk]]:
        key = f"recorded {self.signature.canonical()}"
        if key not in self.source.memo:
            state = self.source.state()
            try:
                recorder = Recorder(self.source, self.signature)
                self.source.memo[key] = (recorder, recorder.probe())
            finally:
                self.source.restore(state)
        found: tuple[Recorder, list[Walk]] = self.source.memo[key]
        return found

    def _outputs(self, walks: list[Walk]) -> list[str]:
        """Names of the answer, which the reference must give too."""
        names = list(self.source.named(walks[0].outputs, self.signature))
        if self.source.whole is not None:
            recorder = self.source.memo[f"recorded {self.signature.canonical()}"][0]
            feeds = recorder.maker.feeds(recorder.maker.plain(self.signature.trace_sizes()))
            try:
                whole = self.source.whole.run(feeds, self.signature.with_outputs(names))
            except ReferenceRefused as error:
                raise SourceError(f"reference {self.source.whole.label} refuses the example inputs: {error}") from error
            if list(whole) != names:  # pragma: no cover - name_outputs has renamed them
                raise SourceError(
                    f"reference {self.source.whole.label} gives {', '.join(whole)}, not {', '.join(names)}"
                )
        return names

    def _part(
        self, stage: LoadedStage, joint: Joint, recorder: Recorder, variant: Variant, domains: tuple[str, ...]
    ) -> OnnxModel:
        spec = stage.spec
        exporter, opset = variant.asked or (variant.exporter, variant.opset)
        if self.source.framework == variant.exporter:
            exporter = None
        if stage.source.framework == "onnx":
            exporter, opset = "none", None
        own = Variant(spec.exporter or exporter, spec.opset or opset, {**variant.options, **spec.options})
        if Layout.of(own.options):
            raise ExporterError(
                f"stage {stage.name!r}: a part of {self.source.label} takes and gives what its framework does, so that "
                "the parts fit; inputs_as_nchw and outputs_as_nchw are for models of one file"
            )
        exported = export_signature(joint, self.signature.dims)
        if exporter == "none":  # the file keeps its names
            exported = replace(exported, outputs=None)
        try:
            model = self.workshop.export(stage.source, exported, own, domains=domains, feeds=joint.traced)
        except Finding as finding:
            result = finding.result
            told = replace(
                result,
                summary=f"stage {stage.name!r}: {result.summary}",
                details=f"stage {stage.name!r} of {self.source.label}\n{result.message}",
            )
            raise type(finding)(told) from None
        except ExporterError as error:
            raise ExporterError(
                f"stage {stage.name!r}: {error}\nStages may each have their own: Stage(..., exporter=..., opset=...)."
            ) from error
        except OnnxPrepError as error:
            raise type(error)(f"stage {stage.name!r}: {error}") from error
        part = copy.copy(model)
        part.signature = check_signature(joint, model.signature, recorder, stage)
        return part


def _provenance(source: ComposedSource, parts: Mapping[str, OnnxModel], joints: list[Any]) -> dict[str, Any]:
    seconds = [part.provenance.get("export_s") for part in parts.values()]
    known = [second for second in seconds if second is not None]
    return {
        "source": source.label,
        "framework": source.framework,
        "export_s": round(sum(known), 3) if known else None,
        "stages": {name: dict(part.provenance) for name, part in parts.items()},
        "joints": joints,
        "cacheable": all(part.provenance.get("cacheable", True) for part in parts.values()),
    }


def _told(variant: Variant, parts: Mapping[str, OnnxModel]) -> Variant:
    """The variant as it came about: the exporters of all parts, and the opset where they have one in common."""
    exporters = list(dict.fromkeys(part.variant.exporter or "" for part in parts.values()))
    opsets = {part.variant.opset for part in parts.values()}
    return replace(variant, exporter="+".join(exporters), opset=opsets.pop() if len(opsets) == 1 else None)
