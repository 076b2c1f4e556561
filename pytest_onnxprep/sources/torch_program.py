"""``torch.export.ExportedProgram``: a graph of torch's own operators with the ranges of its sizes."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from pytest_onnxprep.errors import SourceError
from pytest_onnxprep.sources.source_code import Digest
from pytest_onnxprep.sources.torch_module import TorchSource, to_numpy
from pytest_onnxprep.spec.dims import Dim
from pytest_onnxprep.spec.signature import Signature
from pytest_onnxprep.spec.tensor import TensorSpec

#: Sizes torch leaves open have no end; drawn are ones up to this many beyond their smallest.
_OPEN = 8


def is_program(value: Any) -> bool:
    """Whether a value is an ``ExportedProgram``."""
    import torch

    return isinstance(value, torch.export.ExportedProgram)


class ProgramSource(TorchSource):
    """An exported program, run as the module it unlifts to.

    Args:
        program: the program.
        label: what messages call it.
        guarded: whether it checks its conditions on the inputs itself.
    """

    def __init__(self, program: Any, label: str = "program (torch.export)", guarded: bool = True) -> None:
        super().__init__(program.module(check_guards=guarded))
        self.program = program
        self.label = label

    def derived_signature(self) -> Signature:
        """The program's inputs, in order; symbolic sizes are named after the input and axis where they first stand."""
        names = list(self.program.graph_signature.user_inputs)
        placeholders = {node.name: node for node in self.program.graph.nodes if node.op == "placeholder"}
        specs: dict[str, TensorSpec] = {}
        symbols: dict[str, str] = {}
        dims: dict[str, Dim] = {}
        for name in names:
            value: Any = placeholders[name].meta.get("val") if name in placeholders else None
            if not hasattr(value, "shape"):
                continue  # a number, a string or None that was made part of the program
            shape = tuple(self._dim(size, name, axis, symbols, dims) for axis, size in enumerate(value.shape))
            specs[name] = TensorSpec(str(value.dtype).removeprefix("torch."), shape)
        return Signature(specs, dims=dims)

    def _dim(self, size: Any, name: str, axis: int, symbols: dict[str, str], dims: dict[str, Dim]) -> int | str:
        if isinstance(size, int):
            return size
        expression = str(size.node.expr)
        if expression.isidentifier() and expression not in symbols:
            known = "batch" if axis == 0 and "batch" not in dims else f"{name}_dim{axis}"
            symbols[expression] = known
            dims[known] = _range(self.program.range_constraints.get(size.node.expr))
        text = expression
        for symbol, known in symbols.items():
            text = text.replace(symbol, known)
        return text

    def call(self, tensors: Mapping[str, Any]) -> Any:
        """Call with the structure the program was exported with."""
        import torch.utils._pytree as pytree

        names = list(self.program.graph_signature.user_inputs)
        open_ones = list(self._tensor_inputs())
        given = (
            dict(tensors) if set(tensors) == set(open_ones) else dict(zip(open_ones, tensors.values(), strict=False))
        )
        if len(tensors) != len(open_ones):
            raise SourceError(
                f"inputs: {self.label} takes {len(open_ones)} ({', '.join(open_ones)}), not {len(tensors)}"
            )
        constants = {
            position: getattr(spec.arg, "value", None)
            for position, spec in enumerate(self._user_specs())
            if type(spec.arg).__name__ == "ConstantArgument"
        }
        flat = [constants[i] if i in constants else given.get(name) for i, name in enumerate(names)]
        positional, keywords = pytree.tree_unflatten(flat, self.program.call_spec.in_spec)
        return self.model(*positional, **keywords)

    def _tensor_inputs(self) -> list[str]:
        return [spec.arg.name for spec in self._user_specs() if type(spec.arg).__name__ == "TensorArgument"]

    def _user_specs(self) -> list[Any]:
        return [spec for spec in self.program.graph_signature.input_specs if spec.kind.name == "USER_INPUT"]

    def fingerprint(self) -> Digest:
        """The text of the graph, and every tensor by value."""
        digest = hashlib.blake2b(str(self.program.graph).encode(), digest_size=20)
        digest.update(str(self.program.graph_signature).encode())
        tensors = {**self.program.state_dict, **self.program.constants}
        for name, tensor in tensors.items():
            if not hasattr(tensor, "detach"):
                return Digest(digest.hexdigest(), False)
            array = np.ascontiguousarray(to_numpy(tensor))
            digest.update(f"{name}:{tensor.dtype}:{array.shape}".encode())
            digest.update(array.reshape(-1).view(np.uint8).data if array.size else b"")
        return Digest(digest.hexdigest(), True)


def _range(constraint: Any) -> Dim:
    """A range of torch's; open ends are a few sizes away."""
    lower = 1
    try:
        lower = max(1, int(constraint.lower))
        return Dim(lower, max(lower, int(constraint.upper)) if int(constraint.upper) < 1 << 20 else lower + _OPEN - 1)
    except (AttributeError, TypeError, ValueError, OverflowError):  # no end at all
        return Dim(lower, lower + _OPEN - 1)
