"""One line of an assessment, and the lines that the file alone decides."""

from __future__ import annotations

import enum
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from pytest_onnxprep.artifacts.onnx_model import OnnxModel
from pytest_onnxprep.checks import accelerator, operators
from pytest_onnxprep.spec.operators_request import OperatorsRequest
from pytest_onnxprep.spec.target import Target


class Source(enum.Enum):
    """Where a value comes from."""

    FILE = "read from the file"
    CHECKER = "estimated by ONNX Runtime's mobile checker"
    SIMULATED = "simulated on this machine"
    MEASURED = "measured on this machine"
    SCALED = "measured on this machine, times a given factor"
    NONE = "not measured"


class Fit(enum.Enum):
    """What one line comes to."""

    FITS = "fits"
    NOT = "does not fit"
    NOT_JUDGED = "not judged"


@dataclass(frozen=True)
class Line:
    """One requirement of a device.

    Args:
        what: ``operators``, ``opset``, ``disk``, ``memory``, ``start-up``, ``latency``, ``accelerator``.
        fit: the outcome.
        value: what the model takes.
        limit: what the device gives.
        unit: of both.
        why: the reason of anything but a plain fit, and remarks.
        source: where the value comes from.
        how: more of that: the cap, the threads, the factor.
    """

    what: str
    fit: Fit
    value: float | None = None
    limit: float | None = None
    unit: str = ""
    why: str = ""
    source: Source = Source.FILE
    how: str = ""

    def to_json(self) -> dict[str, Any]:
        """As reports keep it."""
        return {
            "what": self.what,
            "verdict": self.fit.value,
            "value": self.value,
            "limit": self.limit,
            "unit": self.unit,
            "why": self.why,
            "source": self.source.value,
            "how": self.how,
        }

    @property
    def figure(self) -> str:
        """``52 of 3000 MB``."""
        shown = "?" if self.value is None else _show(self.value)
        if self.limit is None:
            return f"{shown} {self.unit}".strip() if self.value is not None else ""
        return f"{shown} of {_show(self.limit)} {self.unit}".strip()


def of_file(model: OnnxModel, target: Target) -> Iterator[Line]:
    """Operators, opset, size and accelerator."""
    if target.allowed is not None or target.forbidden or target.domains is not None:
        yield _operators(model, target)
    if target.opset_max is not None:
        late = operators.opset_problem(model, target.opset_max)
        yield Line("opset", Fit.NOT if late else Fit.FITS, model.opset, target.opset_max, why=late)
    if target.disk_bytes is not None:
        over = model.size_bytes > target.disk_bytes
        yield Line("disk", Fit.NOT if over else Fit.FITS, model.size_bytes / 1e6, target.disk_bytes / 1e6, "MB")
    if target.accelerator is not None:
        yield _accelerator(model, target, target.accelerator)


def _operators(model: OnnxModel, target: Target) -> Line:
    operators.check_names([*(target.allowed or ()), *target.forbidden])
    request = OperatorsRequest(target.allowed, target.forbidden, None, target.domains)
    found = operators.offences(model, request)
    kinds = len(operators.runtime_operators(model))
    why = operators.summed(found).replace("allowed=", "the device's operators").replace("domains=", "its domains")
    return Line("operators", Fit.NOT if found else Fit.FITS, kinds - len(found), kinds, "kinds", why)


def _accelerator(model: OnnxModel, target: Target, name: str) -> Line:
    try:
        found = {part: accelerator.estimate(one.path, name) for part, one in (model.parts or {"": model}).items()}
    except Exception as error:  # its tools are no stable interface
        why = f"the checker gave up: {type(error).__name__}: {' '.join(str(error).split())[:200]}"
        return Line("accelerator", Fit.NOT_JUDGED, why=why, source=Source.CHECKER)
    fails = target.accelerator_required and any(one.use == "of no use" for one in found.values())
    why = "; ".join(f"{part}: {name} {one}" if part else f"{name} {one}" for part, one in found.items())
    why += "" if target.accelerator_required or all(one.use == "useful" for one in found.values()) else "; not required"
    supported, nodes = (sum(getattr(one, what) for one in found.values()) for what in ("supported", "nodes"))
    return Line("accelerator", Fit.NOT if fails else Fit.FITS, supported, nodes, "nodes", why, Source.CHECKER)


def _show(value: float) -> str:
    return f"{value:.0f}" if value >= 1000 or float(value).is_integer() else f"{value:.3g}"
