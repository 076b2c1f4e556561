"""Model conversion as a test: export to ONNX, fuzz dynamic shapes, assert parity, enforce latency and size budgets.

Nothing heavy is imported here: names are looked up on first use (PEP 562).
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pytest_onnxprep.api import assert_parity as assert_parity
    from pytest_onnxprep.api import measure_latency as measure_latency
    from pytest_onnxprep.artifacts.metadata import write_metadata as write_metadata
    from pytest_onnxprep.artifacts.onnx_model import OnnxModel as OnnxModel
    from pytest_onnxprep.errors import AccuracyBudgetMissed as AccuracyBudgetMissed
    from pytest_onnxprep.errors import ContractViolation as ContractViolation
    from pytest_onnxprep.errors import ExportFailed as ExportFailed
    from pytest_onnxprep.errors import Finding as Finding
    from pytest_onnxprep.errors import LatencyBudgetExceeded as LatencyBudgetExceeded
    from pytest_onnxprep.errors import OnnxPrepError as OnnxPrepError
    from pytest_onnxprep.errors import ParityError as ParityError
    from pytest_onnxprep.errors import SizeBudgetExceeded as SizeBudgetExceeded
    from pytest_onnxprep.errors import SpecError as SpecError
    from pytest_onnxprep.marks import accuracy_budget as accuracy_budget
    from pytest_onnxprep.marks import latency_budget as latency_budget
    from pytest_onnxprep.marks import onnx_export as onnx_export
    from pytest_onnxprep.marks import parity as parity
    from pytest_onnxprep.marks import size_budget as size_budget
    from pytest_onnxprep.spec.description import ModelDescription as ModelDescription
    from pytest_onnxprep.spec.dims import Dim as Dim
    from pytest_onnxprep.spec.signature import Signature as Signature
    from pytest_onnxprep.spec.tensor import TensorSpec as TensorSpec
    from pytest_onnxprep.spec.tolerance import Tolerance as Tolerance

__version__ = "0.1.0"

_WHERE = {
    "Dim": "spec.dims",
    "ModelDescription": "spec.description",
    "Signature": "spec.signature",
    "TensorSpec": "spec.tensor",
    "Tolerance": "spec.tolerance",
    "accuracy_budget": "marks",
    "latency_budget": "marks",
    "onnx_export": "marks",
    "parity": "marks",
    "size_budget": "marks",
    "OnnxModel": "artifacts.onnx_model",
    "assert_parity": "api",
    "measure_latency": "api",
    "write_metadata": "artifacts.metadata",
    "AccuracyBudgetMissed": "errors",
    "ContractViolation": "errors",
    "ExportFailed": "errors",
    "Finding": "errors",
    "LatencyBudgetExceeded": "errors",
    "OnnxPrepError": "errors",
    "ParityError": "errors",
    "SizeBudgetExceeded": "errors",
    "SpecError": "errors",
}

__all__ = [*_WHERE, "strategies"]


def __getattr__(name: str) -> Any:
    if name == "strategies":
        return importlib.import_module("pytest_onnxprep.strategies")
    if name not in _WHERE:
        raise AttributeError(f"module 'pytest_onnxprep' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"pytest_onnxprep.{_WHERE[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
