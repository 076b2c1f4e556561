"""One door for every kind of export: one file, the files of a pipeline or an ensemble, one fixed size, buckets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from pytest_onnxprep.artifacts.onnx_model import OnnxModel
from pytest_onnxprep.compose.buckets import export_buckets
from pytest_onnxprep.compose.whole import compose
from pytest_onnxprep.errors import ExporterError
from pytest_onnxprep.exporters.workshop import Workshop
from pytest_onnxprep.sources.base import Source
from pytest_onnxprep.sources.pipeline import ComposedSource
from pytest_onnxprep.sources.turn import Turn
from pytest_onnxprep.sources.turned import turned
from pytest_onnxprep.spec.signature import Signature
from pytest_onnxprep.spec.variant import Variant


def export(
    workshop: Workshop,
    source: Source,
    signature: Signature,
    variant: Variant,
    *,
    domains: tuple[str, ...] = (),
    feeds: Mapping[str, np.ndarray] | None = None,
    artifact: Path | None = None,
    buckets: Sequence[Mapping[str, int]] = (),
) -> OnnxModel:
    """The checked file, or files, of one variant; see `Workshop.export`.

    Args:
        workshop: makes the files.
        source: the loaded model.
        signature: declared inputs, outputs and dims.
        variant: exporter, opset, options.
        domains: operator domains allowed beside ONNX's own.
        feeds: example inputs to trace with, where the user gave some.
        artifact: a file made elsewhere.
        buckets: the sizes of several files.
    """
    layout = Turn.of(variant.options)
    if layout and not isinstance(source, ComposedSource):
        layout.check(signature.inputs, signature.outputs)
        source, signature = turned(source, layout), layout.filed(signature)
        feeds = None if feeds is None else layout.filed_feeds(feeds)
    if buckets:
        return _bucketed(workshop, source, signature, variant, buckets, domains, artifact)
    if isinstance(source, ComposedSource):
        if artifact is not None:
            raise ExporterError(
                f"artifact= is one file, and {source.label} has several: give the files as sources of its stages, "
                "Stage('head.onnx'), and what they came from as Pipeline(reference=...)"
            )
        return compose(workshop, source, signature, variant, domains)
    return workshop.export(source, signature, variant, domains=domains, feeds=feeds, artifact=artifact)


def _bucketed(
    workshop: Workshop,
    source: Source,
    signature: Signature,
    variant: Variant,
    buckets: Sequence[Mapping[str, int]],
    domains: tuple[str, ...],
    artifact: Path | None,
) -> OnnxModel:
    if artifact is not None:
        raise ExporterError("buckets= makes the files, and artifact= is one made elsewhere; give one of them")
    if isinstance(source, ComposedSource) or source.framework == "onnx":
        raise ExporterError(f"buckets= exports one model at several sizes; {source.label} cannot be exported so")
    key = f"buckets {[dict(b) for b in buckets]} {signature.canonical()} {variant} {domains} {workshop.provider}"
    if key not in source.memo:
        source.memo[key] = export_buckets(workshop, source, signature, variant, buckets, domains)
    model: OnnxModel = source.memo[key]
    return model
