"""Give the dynamic dims of an exported file the names the user declared."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pytest_onnxprep.spec.shape import DimExpr
from pytest_onnxprep.spec.signature import Signature


def declare_dims(path: Path, signature: Signature) -> None:
    """Rewrite dim names in place: exporters call them ``s0``, ``unk__7`` or after made-up identifiers.

    A dim that is static in the file although it was declared dynamic is left as it is: the contract check must see it.
    """
    import onnx

    proto = onnx.load(str(path), load_external_data=False)
    renames: dict[str, DimExpr] = {}
    changed = False
    for value in proto.graph.input:
        spec = signature.inputs.get(value.name)
        if spec is not None:
            changed |= _write(value.type.tensor_type.shape.dim, spec.shape, renames)
    for value in [*proto.graph.output, *proto.graph.value_info]:
        changed |= _rename(value.type.tensor_type.shape.dim, renames)
    for value in proto.graph.output:
        spec = (signature.outputs or {}).get(value.name)
        if spec is not None:
            changed |= _write(value.type.tensor_type.shape.dim, spec.shape, {})
    if changed:
        onnx.save(proto, str(path))


def _write(dims: Any, declared: tuple[DimExpr, ...], renames: dict[str, DimExpr]) -> bool:
    if len(dims) != len(declared):
        return False
    changed = False
    for dim, wanted in zip(dims, declared, strict=True):
        if dim.HasField("dim_value") or (dim.dim_param == str(wanted) and not wanted.is_static):
            continue
        if dim.dim_param:
            renames.setdefault(dim.dim_param, wanted)
        _set(dim, wanted)
        changed = True
    return changed


def _rename(dims: Any, renames: dict[str, DimExpr]) -> bool:
    found = [dim for dim in dims if dim.dim_param in renames]
    for dim in found:
        _set(dim, renames[dim.dim_param])
    return bool(found)


def _set(dim: Any, wanted: DimExpr) -> None:
    """Exporters leave axes open that were declared with a size, too: ``unk__3``, or what torch could not settle."""
    if wanted.is_static:
        dim.dim_value = wanted.evaluate({})
    else:
        dim.dim_param = str(wanted)
