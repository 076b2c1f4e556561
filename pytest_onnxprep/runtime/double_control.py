"""Loop and Scan: those of ``onnx.reference`` end without a condition, and stack their outputs along the wrong axis."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np


def control_operators() -> list[Any]:
    """Their ``OpRun`` classes."""
    from onnx.reference.op_run import OpRun

    class Loop(OpRun):
        """Loop."""

        def need_context(self) -> bool:
            """The body sees what is around it."""
            return True

        def _run(self, limit: Any, condition: Any, *state: Any, **given: Any) -> tuple[Any, ...]:
            body, inputs = self.body, dict(given.get("context") or {})  # type: ignore[attr-defined]
            carried = list(state)
            scans: list[list[np.ndarray]] = [[] for _ in body.output_names[1 + len(carried) :]]
            going = condition is None or bool(np.asarray(condition).item())
            trip = 0
            while going and (limit is None or trip < int(np.asarray(limit).item())):
                inputs.update(zip(body.input_names, [np.array(trip), np.array(True), *carried], strict=True))
                found = body.run(None, inputs, attributes=given.get("attributes"))
                going = bool(np.asarray(found[0]).item())
                carried = found[1 : 1 + len(carried)]
                for scan, value in zip(scans, found[1 + len(carried) :], strict=True):
                    scan.append(value)
                trip += 1
            kinds = body.output_types_[1 + len(carried) :]
            return (*carried, *(_stacked(scan, kind, 0) for scan, kind in zip(scans, kinds, strict=True)))

    class Scan(OpRun):
        """Scan, since opset 9."""

        def need_context(self) -> bool:
            """The body sees what is around it."""
            return True

        def _run(self, *operands: Any, **given: Any) -> tuple[Any, ...]:
            body, inputs = self.body, dict(given.get("context") or {})  # type: ignore[attr-defined]
            if self.run_params["opsets"].get("", 1) < 9:
                raise NotImplementedError
            split = len(operands) - given["num_scan_inputs"]
            carried = list(operands[:split])
            outputs = len(body.output_names) - split
            axes, turned = _per(given, "scan_input", len(operands) - split)
            items = [np.moveaxis(x, axis, 0) for x, axis in zip(operands[split:], axes, strict=True)]
            items = [item[::-1] if back else item for item, back in zip(items, turned, strict=True)]
            scans: list[list[np.ndarray]] = [[] for _ in range(outputs)]
            for at in range(len(items[0])):
                inputs.update(zip(body.input_names, [*carried, *(np.asarray(item[at]) for item in items)], strict=True))
                found = body.run(None, inputs, attributes=given.get("attributes"))
                carried = found[:split]
                for scan, value in zip(scans, found[split:], strict=True):
                    scan.append(value)
            axes, turned = _per(given, "scan_output", outputs)
            kinds = body.output_types_[split:]
            ordered = [scan[::-1] if back else scan for scan, back in zip(scans, turned, strict=True)]
            return (*carried, *(_stacked(*each) for each in zip(ordered, kinds, axes, strict=True)))

    return [Loop, Scan]


def _per(given: Mapping[str, Any], name: str, count: int) -> tuple[list[int], list[int]]:
    return given.get(f"{name}_axes") or [0] * count, given.get(f"{name}_directions") or [0] * count


def _stacked(values: list[np.ndarray], kind: Any, axis: int) -> np.ndarray:
    """One value per trip along a new axis; without trips, an empty array of the declared type."""
    import onnx

    if values:
        return np.stack(values, axis=axis)
    declared = kind.tensor_type
    shape = [dim.dim_value for dim in declared.shape.dim]
    shape.insert(axis % (len(shape) + 1), 0)
    return np.empty(shape, dtype=onnx.helper.tensor_dtype_to_np_dtype(declared.elem_type))
