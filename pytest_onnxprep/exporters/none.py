"""No export: an ONNX file made elsewhere is taken as it is."""

from __future__ import annotations

from pytest_onnxprep.exporters.job import ExportJob


def export(job: ExportJob) -> None:
    """Never called: `Workshop` uses the file in place."""
    raise AssertionError(f"exporter 'none' does not export ({job.path})")
