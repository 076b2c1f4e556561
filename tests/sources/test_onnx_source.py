"""An ONNX file as the reference: its dims are its signature, its bytes its fingerprint."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import TensorProto, helper

from pytest_onnxprep.errors import ReferenceRefused, SourceError
from pytest_onnxprep.sources.load import load_source
from pytest_onnxprep.sources.onnx_file import external_files

FLOAT = TensorProto.FLOAT


def model(inputs, outputs=(("y", FLOAT, None),), nodes=None, functions=()):
    """A model of a few nodes."""
    graph = helper.make_graph(
        nodes or [helper.make_node("Relu", ["x"], ["y"])],
        "g",
        [helper.make_tensor_value_info(*value) for value in inputs],
        [helper.make_tensor_value_info(*value) for value in outputs],
    )
    imports = [helper.make_opsetid("", 17), helper.make_opsetid("mine", 1)]
    return helper.make_model(graph, opset_imports=imports, ir_version=10, functions=list(functions))


@pytest.fixture
def write(tmp_path):
    """Write a model, return its path."""

    def write(proto, name="net.onnx"):
        path = tmp_path / name
        path.write_bytes(proto.SerializeToString())
        return path

    return write


def described(path):
    """Input name -> dtype[dims]."""
    return {name: str(spec) for name, spec in load_source(str(path)).derived_signature().inputs.items()}


@pytest.mark.parametrize(
    ("dims", "expected"),
    [
        (["batch", 3], "float32[batch, 3]"),
        ([2, 3], "float32[2, 3]"),
        ([], "float32[]"),
        ([None, "unk__4"], "float32[x_dim0, x_dim1]"),
        (["past + seq", "h//4"], "float32[past + seq, h // 4]"),
        (["input.1_dynamic_axes_1", "?"], "float32[x_dim0, x_dim1]"),
    ],
)
def test_dims_are_read(write, dims, expected):
    """Names and expressions as they are; what says nothing is called after its input."""
    assert described(write(model([("x", FLOAT, dims)]))) == {"x": expected}


def test_dtypes_are_read(write):
    """ONNX Runtime's names become numpy's."""
    types = {"f": TensorProto.DOUBLE, "i": TensorProto.INT64, "b": TensorProto.BOOL, "s": TensorProto.STRING}
    path = write(model([("x", FLOAT, ["n"]), *((name, kind, ["n"]) for name, kind in types.items())]))

    assert described(path) == {
        "x": "float32[n]",
        "f": "float64[n]",
        "i": "int64[n]",
        "b": "bool[n]",
        "s": "string[n]",
    }


def test_it_runs(write):
    """The file's own output names, in order."""
    source = load_source(str(write(model([("x", FLOAT, ["n"])]))))

    assert source.label == "net.onnx (ONNX file)"
    assert source.run({"x": np.array([-1, 1], np.float32)}, source.derived_signature())["y"].tolist() == [0, 1]
    with pytest.raises(ReferenceRefused, match="rank"):
        source.run({"x": np.ones((1, 1), np.float32)}, source.derived_signature())


def test_fingerprint_is_the_content(write):
    """Another byte is another model."""
    first = write(model([("x", FLOAT, ["n"])]))
    before = load_source(str(first)).fingerprint()

    assert before == load_source(str(write(model([("x", FLOAT, ["n"])])))).fingerprint()
    assert before.stable
    assert before != load_source(str(write(model([("x", FLOAT, ["m"])])))).fingerprint()


def outside(name):
    """A tensor whose data lies elsewhere."""
    tensor = TensorProto(name=name, data_type=FLOAT, dims=[1], data_location=TensorProto.EXTERNAL)
    tensor.external_data.add(key="location", value=f"../{name}.bin")
    return tensor


def in_branch():
    """Deep in a branch of an If."""
    constant = helper.make_node("Constant", [], ["o"])
    constant.attribute.append(helper.make_attribute("value", outside("deep")))
    branch = helper.make_graph([constant], "b", [], [helper.make_tensor_value_info("o", FLOAT, None)])
    return model(
        [("x", TensorProto.BOOL, [])],
        nodes=[helper.make_node("If", ["x"], ["y"], then_branch=branch, else_branch=branch)],
    )


def in_function():
    """In a function of the model's own."""
    constant = helper.make_node("Constant", [], ["b"])
    constant.attribute.append(helper.make_attribute("value", outside("deep")))
    function = helper.make_function("mine", "F", ["a"], ["b"], [constant], [helper.make_opsetid("", 17)])
    return model([("x", FLOAT, [])], nodes=[helper.make_node("F", ["x"], ["y"], domain="mine")], functions=[function])


def in_initializer():
    """The usual place."""
    proto = model([("x", FLOAT, [])])
    proto.graph.initializer.append(outside("deep"))
    return proto


@pytest.mark.parametrize("build", [in_initializer, in_branch, in_function])
def test_data_outside_is_found_everywhere(write, build):
    """Wherever a tensor stands, its data may not lie outside the folder."""
    with pytest.raises(SourceError, match="tensor 'deep' keeps its data outside the file's folder"):
        load_source(str(write(build())))


def test_file_without_external_data(write):
    """Nothing to find."""
    assert external_files(write(model([("x", FLOAT, [])]))) == set()
