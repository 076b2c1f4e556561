"""The dims of a file end in the declared names, whatever the exporter called them."""

from __future__ import annotations

import onnx
import pytest
from onnx import TensorProto, helper

from pytest_onnxprep.exporters.naming import declare_dims
from pytest_onnxprep.spec.signature import Signature
from pytest_onnxprep.spec.tensor import TensorSpec


@pytest.fixture
def named(tmp_path):
    """Write a file with these dims, declare others, and read back what it has then."""

    def named(found, declared, outputs=None):
        values = {name: helper.make_tensor_value_info(name, TensorProto.FLOAT, dims) for name, dims in found.items()}
        inputs = [value for name, value in values.items() if name in declared]
        graph = helper.make_graph([], "g", inputs, [value for name, value in values.items() if name not in declared])
        path = tmp_path / "model.onnx"
        onnx.save(helper.make_model(graph), str(path))
        specs = {name: TensorSpec("float32", dims) for name, dims in declared.items()}
        out = None if outputs is None else {name: TensorSpec("float32", dims) for name, dims in outputs.items()}
        declare_dims(path, Signature(specs, out))
        graph = onnx.load(str(path)).graph
        return {value.name: _dims(value) for value in [*graph.input, *graph.output]}

    return named


def _dims(value):
    return [dim.dim_value if dim.HasField("dim_value") else dim.dim_param for dim in value.type.tensor_type.shape.dim]


def test_symbols_become_names_everywhere(named):
    """A symbol of an input is renamed in the outputs too; one that only outputs have is left alone."""
    dims = named({"x": ["s0", "s1", 3], "y": ["s0", "s9"]}, {"x": "batch, past + seq, 3"})

    assert dims == {"x": ["batch", "past + seq", 3], "y": ["batch", "s9"]}


def test_one_dim_under_several_symbols(named):
    """Transformers' own exporter gives every input symbols of its own."""
    dims = named({"ids": ["s10", "s12"], "mask": ["s80", "s86"], "y": ["s80", "s12"]}, {"ids": "b, s", "mask": "b, s"})

    assert dims == {"ids": ["b", "s"], "mask": ["b", "s"], "y": ["b", "s"]}


@pytest.mark.parametrize("symbol", ["unk__7", "channels", "3", None])
def test_open_axis_of_a_declared_size(named, symbol):
    """An axis declared with a size gets it, whatever stands there."""
    assert named({"x": ["n", symbol], "y": ["n"]}, {"x": "n, 3"})["x"] == ["n", 3]


def test_frozen_axis_is_left(named):
    """The contract check has to see it."""
    assert named({"x": [2, 3]}, {"x": "batch, 3"}) == {"x": [2, 3]}


def test_other_rank_is_left(named):
    """So does it a rank that is not the declared one."""
    assert named({"x": ["a", "b"]}, {"x": "batch, 3, h"}) == {"x": ["a", "b"]}


def test_declared_outputs(named):
    """Dims of declared outputs are written as well."""
    assert named({"x": ["s0"], "y": ["unk__1", "unk__2"]}, {"x": "n"}, {"y": "n, 2 * n"})["y"] == ["n", "2 * n"]
