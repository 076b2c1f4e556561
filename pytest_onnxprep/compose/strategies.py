"""One door for every kind of export: one file, the files of a pipeline or an ensemble, one fixed size, buckets."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from pytest_onnxprep.artifacts.onnx_model import OnnxModel
from pytest_onnxprep.compose.whole import compose
from pytest_onnxprep.errors import ExporterError
from pytest_onnxprep.exporters.workshop import Workshop
from pytest_onnxprep.sources.base import Source
from pytest_onnxprep.sources.pipeline import ComposedSource
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
) -> OnnxModel:
    """The checked file, or files, of one variant; see `Workshop.export`."""
    if isinstance(source, ComposedSource):
        if artifact is not None:
            raise ExporterError(
                f"artifact= is one file, and {source.label} has several: give the files as sources of its stages, "
                "Stage('head.onnx'), and what they came from as Pipeline(reference=...)"
            )
        return compose(workshop, source, signature, variant, domains)
    return workshop.export(source, signature, variant, domains=domains, feeds=feeds, artifact=artifact)
