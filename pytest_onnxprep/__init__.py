"""Model conversion as a test: export to ONNX, fuzz dynamic shapes, assert parity, enforce latency and size budgets.

Nothing heavy is imported here: names are looked up on first use (PEP 562).
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pytest_onnxprep.api import assert_parity as assert_parity
    from pytest_onnxprep.api import measure_latency as measure_latency
    from pytest_onnxprep.api import measure_memory as measure_memory
    from pytest_onnxprep.artifacts.metadata import write_metadata as write_metadata
    from pytest_onnxprep.artifacts.onnx_model import OnnxModel as OnnxModel
    from pytest_onnxprep.compose.advisor import advise_buckets as advise_buckets
    from pytest_onnxprep.compose.buckets import BucketedModel as BucketedModel
    from pytest_onnxprep.errors import AccuracyBudgetMissed as AccuracyBudgetMissed
    from pytest_onnxprep.errors import ContractViolation as ContractViolation
    from pytest_onnxprep.errors import DoesNotFit as DoesNotFit
    from pytest_onnxprep.errors import ExportFailed as ExportFailed
    from pytest_onnxprep.errors import Finding as Finding
    from pytest_onnxprep.errors import LatencyBudgetExceeded as LatencyBudgetExceeded
    from pytest_onnxprep.errors import MemoryBudgetExceeded as MemoryBudgetExceeded
    from pytest_onnxprep.errors import OnnxPrepError as OnnxPrepError
    from pytest_onnxprep.errors import OperatorsNotAccepted as OperatorsNotAccepted
    from pytest_onnxprep.errors import ParityError as ParityError
    from pytest_onnxprep.errors import SizeBudgetExceeded as SizeBudgetExceeded
    from pytest_onnxprep.errors import SpecError as SpecError
    from pytest_onnxprep.errors import StartupBudgetExceeded as StartupBudgetExceeded
    from pytest_onnxprep.errors import ThroughputTooLow as ThroughputTooLow
    from pytest_onnxprep.marks import accuracy_budget as accuracy_budget
    from pytest_onnxprep.marks import fits as fits
    from pytest_onnxprep.marks import latency_budget as latency_budget
    from pytest_onnxprep.marks import memory_budget as memory_budget
    from pytest_onnxprep.marks import onnx_export as onnx_export
    from pytest_onnxprep.marks import operators as operators
    from pytest_onnxprep.marks import parity as parity
    from pytest_onnxprep.marks import size_budget as size_budget
    from pytest_onnxprep.marks import startup_budget as startup_budget
    from pytest_onnxprep.marks import throughput_budget as throughput_budget
    from pytest_onnxprep.spec.composition import Ensemble as Ensemble
    from pytest_onnxprep.spec.composition import Loop as Loop
    from pytest_onnxprep.spec.composition import Pipeline as Pipeline
    from pytest_onnxprep.spec.composition import Stage as Stage
    from pytest_onnxprep.spec.description import ModelDescription as ModelDescription
    from pytest_onnxprep.spec.dims import Dim as Dim
    from pytest_onnxprep.spec.signature import Signature as Signature
    from pytest_onnxprep.spec.tensor import TensorSpec as TensorSpec
    from pytest_onnxprep.spec.tolerance import Tolerance as Tolerance

__version__ = "0.1.0"

_WHERE = {
    "Dim": "spec.dims",
    "Ensemble": "spec.composition",
    "Loop": "spec.composition",
    "Pipeline": "spec.composition",
    "Stage": "spec.composition",
    "ModelDescription": "spec.description",
    "Signature": "spec.signature",
    "TensorSpec": "spec.tensor",
    "Tolerance": "spec.tolerance",
    "fits": "marks",
    "accuracy_budget": "marks",
    "latency_budget": "marks",
    "memory_budget": "marks",
    "onnx_export": "marks",
    "operators": "marks",
    "parity": "marks",
    "size_budget": "marks",
    "startup_budget": "marks",
    "throughput_budget": "marks",
    "OnnxModel": "artifacts.onnx_model",
    "BucketedModel": "compose.buckets",
    "advise_buckets": "compose.advisor",
    "assert_parity": "api",
    "measure_latency": "api",
    "measure_memory": "api",
    "write_metadata": "artifacts.metadata",
    "AccuracyBudgetMissed": "errors",
    "ContractViolation": "errors",
    "DoesNotFit": "errors",
    "ExportFailed": "errors",
    "Finding": "errors",
    "LatencyBudgetExceeded": "errors",
    "MemoryBudgetExceeded": "errors",
    "OnnxPrepError": "errors",
    "OperatorsNotAccepted": "errors",
    "ParityError": "errors",
    "SizeBudgetExceeded": "errors",
    "SpecError": "errors",
    "StartupBudgetExceeded": "errors",
    "ThroughputTooLow": "errors",
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
