"""Scattering, splitting and shape arithmetic."""

from __future__ import annotations

import numpy as np
import torch

from benchmarks.detection.case import Case
from benchmarks.detection.corpus.torch_edits import reduction_dropped, shape_folded
from benchmarks.detection.corpus.torch_writing import ONNXSCRIPT, PYTORCH, bug, clean, functional, normal, twins
from pytest_onnxprep import Dim, TensorSpec

ROWS = {"x": "float32[batch, t]"}
LENGTHS = {"batch": (1, 8), "t": (4, 32)}
#: Rows that are added to a table of ten.
INTO_TABLE = {"x": "float32[10, 3]", "i": TensorSpec("int64", "n", low=0, high=10), "rows": "float32[n, 3]"}
ELEMENTS = {
    "x": "float32[6, c]",
    "i": TensorSpec("int64", "n, c", low=0, high=6),
    "updates": "float32[n, c]",
}
COUNTS = {"n": (1, 12), "c": (1, 4)}


@functional
def add_rows(x: torch.Tensor, i: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
    """Adds rows to a table, as message passing does."""
    return x.index_add(0, i, rows)


@functional
def put_rows(x: torch.Tensor, i: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
    """The same through index_put."""
    return x.index_put((i,), rows, accumulate=True)


@functional
def add_elements(x: torch.Tensor, i: torch.Tensor, updates: torch.Tensor) -> torch.Tensor:
    """Adds single elements."""
    return x.scatter_add(0, i, updates)


@functional
def mean_of_elements(x: torch.Tensor, i: torch.Tensor, updates: torch.Tensor) -> torch.Tensor:
    """Averages what meets in a cell."""
    return x.scatter_reduce(0, i, updates, "mean")


@functional
def largest_of_elements(x: torch.Tensor, i: torch.Tensor, updates: torch.Tensor) -> torch.Tensor:
    """Keeps the largest of what meets in a cell."""
    return x.scatter_reduce(0, i, updates, "amax")


@functional
def opposite(x: torch.Tensor, i: torch.Tensor) -> torch.Tensor:
    """Reads elements half a turn further, by shape arithmetic."""
    return x[(i + x.shape[0] // 2) % x.shape[0]]


@functional
def drop_first_chunk(x: torch.Tensor) -> torch.Tensor:
    """The last chunk of a split."""
    return torch.split(x, 4, 1)[-1]


@functional
def first_third(x: torch.Tensor) -> torch.Tensor:
    """The first of three nearly equal parts."""
    return torch.tensor_split(x, 3, 1)[0]


def duplicated_rows() -> dict[str, np.ndarray]:
    """Two rows for one place."""
    return {"x": normal(10, 3), "i": np.array([4, 4, 7]), "rows": normal(3, 3, seed=1)}


def duplicated_elements() -> dict[str, np.ndarray]:
    """Three elements for one place."""
    return {"x": normal(6, 2), "i": np.full((3, 2), 5), "updates": normal(3, 2, seed=1)}


index_add = bug(
    "index_add_duplicates",
    "torchscript",
    model=add_rows,
    inputs=INTO_TABLE,
    dims={"n": (1, 12)},
    link=f"{PYTORCH}/111159",
    mechanism="index_add becomes a plain scatter: of rows for one place only one is added",
    witness=duplicated_rows,
)

index_put = bug(
    "index_put_accumulate_duplicates",
    "torchscript",
    model=put_rows,
    inputs=INTO_TABLE,
    dims={"n": (1, 12)},
    link=f"{PYTORCH}/61034",
    mechanism="index_put with accumulate becomes a plain scatter",
    witness=duplicated_rows,
)

CASES: list[Case] = [
    *twins(index_add, "dynamo's scatter adds", exporter="dynamo"),
    *twins(index_put, "dynamo's scatter adds", exporter="dynamo"),
    clean(
        index_add,
        "one row at most goes to a place, since there is only one",
        name="torch_index_add_of_one_row_clean",
        inputs={"x": "float32[10, 3]", "i": TensorSpec("int64", "1", low=0, high=10), "rows": "float32[1, 3]"},
        dims={},
    ),
    *twins(
        bug(
            "scatter_add_below_opset_16",
            "torchscript",
            model=add_elements,
            inputs=ELEMENTS,
            dims=COUNTS,
            link=f"{PYTORCH}/125835",
            mechanism="ScatterElements cannot add before opset 16, and overwrites instead",
            witness=duplicated_elements,
            opset=13,
        ),
        "opset 16 adds",
        opset=16,
    ),
    *twins(
        bug(
            "scatter_reduce_mean",
            "dynamo",
            model=mean_of_elements,
            inputs=ELEMENTS,
            dims=COUNTS,
            link=f"{ONNXSCRIPT}/pull/582",
            mechanism="the mean reduction, which ONNX does not have, is mapped to none",
            witness=duplicated_elements,
        ),
        "ONNX has the maximum",
        model=largest_of_elements,
    ),
    *twins(
        bug(
            "scatter_reduction_dropped",
            "dynamo",
            model=largest_of_elements,
            inputs=ELEMENTS,
            dims=COUNTS,
            link="https://github.com/apache/tvm/issues/19435",
            mechanism="the reduction attribute of ScatterElements is ignored",
            witness=duplicated_elements,
            edit=reduction_dropped,
        ),
        "today's file keeps it, for products too",
        model=functional(lambda x, i, updates: x.scatter_reduce(0, i, updates, "prod")),
        inputs={**ELEMENTS, "updates": TensorSpec("float32", "n, c", low=0.5, high=2)},
    ),
    *twins(
        bug(
            "last_chunk_of_split",
            "dynamo",
            model=drop_first_chunk,
            inputs=ROWS,
            dims=LENGTHS,
            link=f"{ONNXSCRIPT}/pull/622",
            mechanism="the number of chunks, and which is the last, is that of the traced length",
            witness=lambda: {"x": normal(2, 22)},
        ),
        "the first chunk is the first whatever the length",
        model=functional(lambda x: torch.split(x, 4, 1)[0]),
    ),
    *twins(
        bug(
            "tensor_split",
            "dynamo",
            model=first_third,
            inputs=ROWS,
            dims=LENGTHS,
            link=f"{PYTORCH}/134663",
            mechanism="how the remainder of a split into three is spread is that of the traced length",
            witness=lambda: {"x": normal(2, 12)},
        ),
        "the length is fixed",
        inputs={"x": "float32[batch, 7]"},
        dims={"batch": (1, 8)},
    ),
    *twins(
        bug(
            "shape_folded",
            "torchscript",
            model=opposite,
            inputs={"x": "float32[n]", "i": TensorSpec("int64", "k", low=0, high=4)},
            dims={"n": Dim(4, 32, example=5), "k": (1, 6)},
            link=f"{PYTORCH}/69605",
            mechanism="the shape of an input is folded into a constant, against dynamic_axes",
            witness=lambda: {"x": normal(19), "i": np.array([0, 1, 3])},
            edit=shape_folded(5),
            blame="converter",
        ),
        "today's file computes the shape",
    ),
]
