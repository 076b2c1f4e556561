"""Exports for the benchmarks, through the plugin's own workshop."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pytest_onnxprep.artifacts.onnx_model import OnnxModel
from pytest_onnxprep.artifacts.store import Store
from pytest_onnxprep.checks.prepare import build_signature
from pytest_onnxprep.exporters.workshop import Workshop
from pytest_onnxprep.sources.load import load_source
from pytest_onnxprep.spec.export_request import read_export
from pytest_onnxprep.spec.variant import Variant


def export(folder: Path, factory: Any, exporter: str, opset: int, **arguments: Any) -> OnnxModel:
    """Export a zoo model into a throw-away store."""
    source = load_source(factory)
    signature = build_signature(source, read_export(factory, **arguments))
    workshop = Workshop(Store(folder / "cache", run_dir=folder / "run"))
    return workshop.export(source, signature, Variant(exporter, opset))
