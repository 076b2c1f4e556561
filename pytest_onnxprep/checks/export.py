"""``export``: the file is valid and keeps its contract (the `Workshop` proved it); here its figures are read."""

from __future__ import annotations

from typing import Any

from pytest_onnxprep.artifacts.onnx_model import OnnxModel
from pytest_onnxprep.checks.case import Case
from pytest_onnxprep.errors import ExportFailed
from pytest_onnxprep.spec.verdict import CheckResult, Verdict

#: What a failing check is raised as.
FINDING = ExportFailed


def run(case: Case) -> CheckResult:
    """Describe the exported file."""
    model = case.model
    seconds = model.provenance.get("export_s")
    description = model.describe()
    figures = {
        "export_s": seconds,
        "cached": model.cached,
        "nodes": model.node_count,
        "mb": round(model.size_bytes / 1e6, 6),
        "opset": model.opset,
        "operators": dict(model.operators.most_common()),
        "description": description.to_json(),
    }
    if model.parts:
        figures["parts"] = {name: _part(part) for name, part in model.parts.items()}
        figures["joints"] = list(model.provenance.get("joints", ()))
    else:
        figures["path"] = str(model.path)
    if not model.provenance.get("cacheable", True):
        figures["cacheable"] = False
    made = "taken as it is" if seconds is None else f"exported in {seconds:.1f} s{' (cached)' if model.cached else ''}"
    several = f" in {len(model.parts)} files" if model.parts else ""
    summary = f"{made}: opset {model.opset}, {model.node_count} nodes, {model.size_bytes / 1e6:.3g} MB{several}"
    if "cacheable" in figures:
        summary += (
            "; exported anew in every run: the model holds something that cannot be described (an open file, a socket)"
        )
    for name, part in (model.parts or {"": model}).items():
        if "not_isolated" in part.provenance and not part.cached:
            summary += f"; {name + ' ' if name else ''}not isolated: {part.provenance['not_isolated']}"
    return CheckResult(Verdict.PASS, summary, figures, sections=(("the ONNX file", str(description)),))


def _part(model: OnnxModel) -> dict[str, Any]:
    """One of several files."""
    return {
        "exporter": model.variant.exporter,
        "opset": model.opset,
        "nodes": model.node_count,
        "mb": round(model.size_bytes / 1e6, 6),
        "path": str(model.path),
    }
