"""What a ``.tflite`` file says of itself, read without running anything: tensors, operators, signature.

Every index is checked here: the interpreter is C++ and ends the process on some damaged files.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from pathlib import Path

import numpy as np

from pytest_onnxprep.sources.flatbuffer import Buffer, Damaged, Table

#: numpy's names for the schema's ``TensorType``.
_DTYPES = {
    0: "float32",
    1: "float16",
    2: "int32",
    3: "uint8",
    4: "int64",
    5: "string",
    6: "bool",
    7: "int16",
    8: "complex64",
    9: "int8",
    10: "float64",
    11: "complex128",
    12: "uint64",
    13: "resource",
    14: "variant",
    15: "uint32",
    16: "uint16",
    17: "int4",
    18: "bfloat16",
}
_CUSTOM, _PLACEHOLDER = 32, 127
GATHER, EMBEDDING_LOOKUP, DEQUANTIZE, QUANTIZE = 36, 7, 6, 114
#: Operators that pass indices on: CAST, RESHAPE, SQUEEZE, EXPAND_DIMS, SLICE, TRANSPOSE, STRIDED_SLICE; and with ADD,
#: SELECT and SELECT_V2 what Keras makes of negative ones.
_PASSING = frozenset({53, 22, 43, 70, 65, 39, 45, 0, 64, 123})
#: Variables that outlive a call: CALL_ONCE, VAR_HANDLE, READ_VARIABLE, ASSIGN_VARIABLE.
_STATEFUL = frozenset({129, 142, 143, 144})
#: Elements of one tensor; more are no model for a device, but a damaged size.
_MOST_ELEMENTS = 1 << 31
_IDENTIFIER = b"TFL3"


@dataclass(frozen=True)
class Tensor:
    """One tensor: ``shape`` has -1 for sizes that are open."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    constant: bool
    sparse: bool
    scale: float | None = None
    zero_point: int = 0


@dataclass(frozen=True)
class Operator:
    """One operator: a builtin code, or the name of a custom one; -1 stands for an input left out."""

    code: int
    custom: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


@dataclass(frozen=True)
class Layout:
    """The main graph of a file.

    Args:
        tensors: by index.
        operators: in order.
        inputs: name -> tensor index.
        outputs: likewise.
        output_indices: the tensors the graph itself lists as its outputs, in its order.
        custom: names of all custom operators, TensorFlow's own (``Flex...``) among them.
        signed: whether the names are those of a signature.
    """

    tensors: tuple[Tensor, ...]
    operators: tuple[Operator, ...]
    inputs: dict[str, int]
    outputs: dict[str, int]
    output_indices: tuple[int, ...]
    custom: tuple[str, ...]
    signed: bool

    @property
    def is_stateful(self) -> bool:
        """Whether a call depends on the ones before."""
        return any(operator.code in _STATEFUL for operator in self.operators)

    @property
    def is_quantised(self) -> bool:
        """Whether some tensor is kept in quantisation steps."""
        return any(t.scale is not None and t.dtype in ("int8", "uint8", "int16", "int4") for t in self.tensors)

    @property
    def hybrid_weights(self) -> frozenset[int]:
        """Weights kept in steps whose operators take floats: the kernels make steps of these as they run."""
        found: set[int] = set()
        for operator in self.operators:
            first = self.tensors[operator.inputs[0]] if operator.inputs and operator.inputs[0] >= 0 else None
            if first is not None and first.dtype == "float32" and operator.code not in (DEQUANTIZE, QUANTIZE):
                found.update(i for i in operator.inputs[1:] if i >= 0 and self._is_step_weight(self.tensors[i]))
        return frozenset(found)

    @staticmethod
    def _is_step_weight(tensor: Tensor) -> bool:
        return tensor.constant and tensor.scale is not None and tensor.dtype == "int8"

    def rows_looked_up(self, index: int) -> int | None:
        """How many rows the table has that an integer input is an index of; None where it is none."""
        followed, found = {index}, []
        for operator in self.operators:
            if not followed.isdisjoint(operator.inputs) and operator.code in _PASSING:
                followed.update(operator.outputs)
            if operator.code == GATHER and len(operator.inputs) > 1 and operator.inputs[1] in followed:
                found.append(operator.inputs[0])
            elif operator.code == EMBEDDING_LOOKUP and len(operator.inputs) > 1 and operator.inputs[0] in followed:
                found.append(operator.inputs[1])
        tables = [self.tensors[table].shape for table in found if self.tensors[table].constant]
        return min((shape[0] for shape in tables if shape), default=None)


def read_layout(path: Path) -> Layout:
    """Read and check a file.

    Raises:
        Damaged: it is no ``.tflite`` file, or its parts do not fit together.
    """
    data = path.read_bytes()
    if data[4:8] != _IDENTIFIER:
        raise Damaged("it does not begin as one (the mark 'TFL3' is missing)")
    root = Buffer(data).root()
    buffers = [_buffer_size(table, len(data)) for table in root.tables(4)]
    codes = [_code(table) for table in root.tables(1)]
    graphs = list(root.tables(2))
    if not graphs:
        raise Damaged("it holds no graph")
    read = [_graph(graph, buffers, codes) for graph in graphs]
    tensors, operators, inputs, outputs = read[0]
    named = _signature(root, len(tensors))
    signed = named is not None and set(named[0].values()) == set(inputs) and set(named[1].values()) == set(outputs)
    return Layout(
        tensors,
        operators,
        named[0] if named and signed else _own_names(tensors, inputs),
        named[1] if named and signed else _own_names(tensors, outputs),
        tuple(outputs),
        tuple(dict.fromkeys(custom for _, custom in codes if custom)),
        signed,
    )


def _code(table: Table) -> tuple[int, str]:
    code = table.number(0, "b")
    if code in (0, _PLACEHOLDER):  # newer files keep large codes, and a copy of the small ones, in a field of its own
        code = table.number(3, "i") or code
    return code, table.text(1) if code == _CUSTOM else ""


def _buffer_size(table: Table, file_size: int) -> int:
    size, offset = table.number(2, "Q"), table.number(1, "Q")
    if offset > 1 and offset + size > file_size:
        raise Damaged("a buffer lies beyond its end (the file is cut off)")
    return size if offset > 1 else len(table.array(0, np.uint8))


def _graph(
    graph: Table, buffers: list[int], codes: list[tuple[int, str]]
) -> tuple[tuple[Tensor, ...], tuple[Operator, ...], list[int], list[int]]:
    tensors = tuple(_tensor(table, buffers) for table in graph.tables(0))
    operators = []
    for table in graph.tables(3):
        code = table.number(0, "I")
        if code >= len(codes):
            raise Damaged(f"an operator is of kind {code}, and there are {len(codes)}")
        ends = [_indices(table.array(field, np.int32), len(tensors), -1) for field in (1, 2)]
        operators.append(Operator(*codes[code], tuple(ends[0]), tuple(ends[1])))
    inputs, outputs = (_indices(graph.array(field, np.int32), len(tensors), 0) for field in (1, 2))
    return tensors, tuple(operators), inputs, outputs


def _indices(found: np.ndarray, count: int, least: int) -> list[int]:
    indices = [int(index) for index in found]
    wrong = [index for index in indices if not least <= index < count]
    if wrong:
        raise Damaged(f"an operator or graph refers to tensor {wrong[0]}, and there are {count}")
    return indices


def _tensor(table: Table, buffers: list[int]) -> Tensor:
    name, buffer = table.text(3), table.number(2, "I")
    if buffer >= len(buffers):
        raise Damaged(f"tensor {name!r} is kept in buffer {buffer}, and there are {len(buffers)}")
    kind = table.number(1, "b")
    if kind not in _DTYPES:
        raise Damaged(f"tensor {name!r} is of type {kind}, which this version does not know")
    shape = [int(size) for size in table.array(0, np.int32)]
    signature = [int(size) for size in table.array(7, np.int32)]
    if any(size < 0 for size in shape) or prod(shape) > _MOST_ELEMENTS:
        raise Damaged(f"tensor {name!r} has the shape {shape}")
    if any(size < -1 for size in signature) or (signature and len(signature) != len(shape)):
        raise Damaged(f"tensor {name!r} has the shape {shape} and the signature {signature}")
    constant, sparse = buffers[buffer] > 0, table.has(6)
    width = _width(_DTYPES[kind])
    if constant and not sparse and width is not None and buffers[buffer] < prod(shape) * width:
        raise Damaged(f"tensor {name!r} of shape {shape} has {buffers[buffer]} bytes of data")
    scale, zero_point = _quantisation(table.table(4))
    return Tensor(name, _DTYPES[kind], tuple(signature or shape), constant, sparse, scale, zero_point)


def _quantisation(table: Table | None) -> tuple[float | None, int]:
    if table is None:
        return None, 0
    scales, zeros = table.array(2, np.float32), table.array(3, np.int64)
    return (float(scales[0]), int(zeros[0]) if len(zeros) else 0) if len(scales) else (None, 0)


def _width(dtype: str) -> int | None:
    """Bytes of an element, where they are whole ones."""
    if dtype in ("string", "resource", "variant", "int4"):
        return None
    return 2 if dtype == "bfloat16" else np.dtype(dtype).itemsize


def _signature(root: Table, tensors: int) -> tuple[dict[str, int], dict[str, int]] | None:
    """The names a signature gives the main graph's inputs and outputs."""
    for table in root.tables(7):
        if table.number(4, "I") == 0:
            inputs, outputs = (
                {entry.text(0): entry.number(1, "I") for entry in table.tables(field)} for field in (0, 1)
            )
            if any(index >= tensors for index in (*inputs.values(), *outputs.values())):
                raise Damaged("its signature names tensors it does not have")
            return inputs, outputs
    return None


def _own_names(tensors: tuple[Tensor, ...], indices: list[int]) -> dict[str, int]:
    """Tensors by their names, without TensorFlow's ``:0``; told apart by their index where two are alike."""
    names: dict[str, int] = {}
    for index in indices:
        name = tensors[index].name.removesuffix(":0") or f"tensor_{index}"
        names[f"{name}_{index}" if name in names else name] = index
    return names
