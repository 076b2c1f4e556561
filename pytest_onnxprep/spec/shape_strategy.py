"""How dynamic shapes are exported: as they are declared, at one fixed size, or at several."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pytest_onnxprep.spec.dims import Dim
from pytest_onnxprep.spec.errors import SpecError, closest
from pytest_onnxprep.spec.shape import DimExpr, Node
from pytest_onnxprep.spec.signature import Signature
from pytest_onnxprep.spec.tensor import TensorSpec

SHAPES = ("dynamic", "fixed")


@dataclass(frozen=True)
class ShapeStrategy:
    """``shapes=`` and ``buckets=`` of ``onnx_export``.

    Args:
        shapes: ``dynamic`` or ``fixed``.
        buckets: the sizes of several files; empty where there is one.
    """

    shapes: str = "dynamic"
    buckets: tuple[Mapping[str, int], ...] = ()

    def signature(self, declared: Signature) -> Signature:
        """What the one file is exported and checked with; buckets are checked over the declared range."""
        return declared if self.shapes == "dynamic" else at_sizes(declared, declared.trace_sizes())


def read_strategy(shapes: Any, buckets: Any) -> ShapeStrategy:
    """Read both arguments.

    Raises:
        SpecError: anything malformed, with what is accepted.
    """
    if shapes is not None and shapes not in SHAPES:
        raise SpecError(
            f"shapes must be 'dynamic' or 'fixed' (several fixed sizes: buckets=[{{...}}]), not {shapes!r}"
            f"{closest(str(shapes), SHAPES)}"
        )
    if buckets is None:
        return ShapeStrategy(shapes or "dynamic")
    if shapes is not None:
        raise SpecError(f"buckets are shapes of their own: leave out shapes={shapes!r}")
    if isinstance(buckets, Mapping) or not isinstance(buckets, Sequence) or isinstance(buckets, str) or not buckets:
        raise SpecError(f"buckets must be a list of sizes, as in [{{'seq': 32}}, {{'seq': 128}}], not {buckets!r}")
    found = tuple(_read_bucket(bucket) for bucket in buckets)
    for bucket in found:
        if set(bucket) != set(found[0]):
            raise SpecError(f"buckets: all of them must name the same dims, not {found[0]} and {bucket}")
    if len({tuple(sorted(bucket.items())) for bucket in found}) < len(found):
        raise SpecError(f"buckets: the same sizes are listed twice: {list(found)}")
    return ShapeStrategy("dynamic", found)


def _read_bucket(bucket: Any) -> dict[str, int]:
    if not isinstance(bucket, Mapping) or not bucket:
        raise SpecError(f"buckets: {bucket!r} must map dims to sizes, as in {{'seq': 32}}")
    for name, size in bucket.items():
        if isinstance(size, bool) or not isinstance(size, int) or size < 1:
            raise SpecError(f"buckets: {name} must be a size >= 1, not {size!r}")
    return dict(bucket)


def check_buckets(buckets: Sequence[Mapping[str, int]], dims: Mapping[str, Dim]) -> None:
    """Every declared size must fit into a bucket.

    Raises:
        SpecError: a dim that no input has, or a size that no bucket holds.
    """
    for name in buckets[0]:
        if name not in dims:
            raise SpecError(
                f"buckets name an unknown dim {name!r}{closest(name, dims)} Dims of this model: {', '.join(dims)}."
            )
    largest = {name: dims[name].largest for name in buckets[0]}
    if not any(all(bucket[name] >= size for name, size in largest.items()) for bucket in buckets):
        shown = ", ".join(f"{name}={size}" for name, size in largest.items())
        raise SpecError(
            f"buckets: none holds the largest declared sizes ({shown}); add one that does, "
            "or narrow the ranges in dims="
        )


def at_sizes(signature: Signature, sizes: Mapping[str, int]) -> Signature:
    """The signature with some dims at one size each; the others stay dynamic."""

    def bound(spec: TensorSpec) -> TensorSpec:
        return replace(spec, shape=tuple(DimExpr(_bound(dim.node, sizes)) for dim in spec.shape))

    outputs = signature.outputs
    dims = {name: dim for name, dim in signature.dims.items() if name not in sizes}
    if signature.generate is not None:  # it is told the sizes by the dims
        dims = {name: Dim(sizes[name], sizes[name]) if name in sizes else dim for name, dim in signature.dims.items()}
    return Signature(
        {name: bound(spec) for name, spec in signature.inputs.items()},
        None if outputs is None else {name: None if spec is None else bound(spec) for name, spec in outputs.items()},
        dims,
        signature.generate,
        signature.free,
        {**signature.fixed, **sizes},
    )


def _bound(node: Node, sizes: Mapping[str, int]) -> Node:
    if isinstance(node, str):
        return sizes.get(node, node)
    if isinstance(node, int):
        return node
    operator, left, right = node[0], _bound(node[1], sizes), _bound(node[2], sizes)
    made: Node = (operator, left, right)
    if isinstance(left, int) and isinstance(right, int):
        return DimExpr(made).evaluate({})
    return made
