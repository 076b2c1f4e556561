"""What goes in and what comes out of a model, and the range of every named dim."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from pytest_onnxprep.spec.dims import DEFAULT_DIM, Dim
from pytest_onnxprep.spec.errors import SpecError, closest
from pytest_onnxprep.spec.tensor import Generate, TensorSpec


@dataclass(frozen=True)
class Signature:
    """Inputs, outputs and dims of one model.

    Args:
        inputs: name -> spec, in the order the model takes them.
        outputs: name -> spec, or None for an output of which only the name is declared; None when nothing is declared.
        dims: name -> range, for every named dim of the inputs (1..8 where the user gave none).
        generate: the user's own input maker, or None.
        free: named dims without a range: of any size that ``generate`` gives them.
        fixed: named dims of which one size was exported, which the shapes hold as a number -> that size.
    """

    inputs: Mapping[str, TensorSpec]
    outputs: Mapping[str, TensorSpec | None] | None = None
    dims: Mapping[str, Dim] = field(default_factory=dict)
    generate: Generate | None = None
    free: frozenset[str] = frozenset()
    fixed: Mapping[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Fill in the dims nobody declared; refuse the ones nobody uses."""
        used = dict.fromkeys(name for spec in self.inputs.values() for name in spec.names if name not in self.free)
        if self.generate is None:
            for name in self.dims:
                if name not in used:
                    raise SpecError(
                        f"dims: no input has a dim named {name!r}{closest(name, used)} "
                        f"Named dims of the inputs: {', '.join(used) or 'none'}."
                    )
        complete = {name: self.dims.get(name, DEFAULT_DIM) for name in used} | dict(self.dims)
        object.__setattr__(self, "dims", complete)

    def check_sizes(self, sizes: Mapping[str, int], what: str) -> dict[str, int]:
        """Return ``sizes`` completed to every named dim; missing dims take their smallest size.

        Raises:
            SpecError: a name that is no dim, or a size outside its range.
        """
        for name, size in sizes.items():
            if self.fixed.get(name) == size:
                continue
            if name in self.fixed:
                raise SpecError(f"{what}: the file was exported for {name}={self.fixed[name]} alone, not for {size}")
            if name not in self.dims:
                raise SpecError(
                    f"{what} names an unknown dim {name!r}{closest(name, self.dims)} "
                    f"Dims of this model: {', '.join(self.dims) or 'none'}."
                )
            if size not in self.dims[name]:
                raise SpecError(f"{what}: {name}={size} is outside its declared range {self.dims[name]}")
        return {name: sizes.get(name, dim.smallest_filled) for name, dim in self.dims.items()}

    def shapes(self, sizes: Mapping[str, int]) -> dict[str, tuple[int, ...]]:
        """Concrete input shapes for these named sizes; inputs with free dims are left out.

        Raises:
            SpecError: an expression gives a negative size.
        """
        bound = {name: spec for name, spec in self.inputs.items() if not self.free.intersection(spec.names)}
        shapes = {name: spec.concrete(sizes) for name, spec in bound.items()}
        for name, shape in shapes.items():
            if any(size < 0 for size in shape):
                raise SpecError(f"input {name!r} ({self.inputs[name]}) has a negative size at {dict(sizes)}: {shape}")
        return shapes

    def trace_sizes(self) -> dict[str, int]:
        """The named sizes to export with, pairwise different where the ranges allow.

        Tracers specialise 0 and 1, and merge dims that happen to be equal in the example.
        """
        sizes: dict[str, int] = {}
        examples = {dim.example for dim in self.dims.values()}
        for name, dim in self.dims.items():
            size = dim.trace_size
            if dim.example is None:
                taken = examples.union(sizes.values())
                while size in taken and size + dim.multiple_of <= dim.largest:
                    size += dim.multiple_of
                size = dim.trace_size if size in taken else size
            sizes[name] = size
        return sizes

    def with_outputs(self, names: list[str]) -> Signature:
        """This signature with the output names a source or an exporter reported; declared ones stay."""
        return self if self.outputs is not None else replace(self, outputs=dict.fromkeys(names))

    def canonical(self) -> dict[str, Any]:
        """A JSON-able description, the same for equal signatures: part of every cache key."""
        return {
            "inputs": {name: [str(spec), spec.low, spec.high] for name, spec in self.inputs.items()},
            "outputs": None
            if self.outputs is None
            else {name: None if spec is None else str(spec) for name, spec in self.outputs.items()},
            "dims": {name: [d.min, d.max, d.multiple_of, d.example] for name, d in self.dims.items()},
        }
