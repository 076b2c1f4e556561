"""ONNX files made elsewhere: alone, against another file, and against a model in its framework."""

from __future__ import annotations

import os

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from pytest_onnxprep.errors import ContractViolation, ExporterError, ExportFailed, SourceError

FLOAT = TensorProto.FLOAT


@pytest.fixture
def write(tmp_path):
    """Write ``y = operator(x)`` to a file."""

    def write(name="net.onnx", operator="Relu", inputs=("x",), outputs=("y",), domain="", initializers=()):
        values = [helper.make_tensor_value_info(each, FLOAT, ["batch", 3]) for each in ("x", "y")]
        values[1].name = outputs[0]
        node = helper.make_node(operator, [*inputs], [*outputs], domain=domain)
        graph = helper.make_graph([node], "g", values[:1], values[1:], list(initializers))
        imports = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
        model = helper.make_model(graph, opset_imports=imports, ir_version=10)
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(model.SerializeToString())
        return path

    return write


def relu():
    """The same in torch."""
    torch = pytest.importorskip("torch")
    return torch.nn.ReLU().eval()


def test_file_alone(export, write):
    """A file is its own signature; it is used where it lies and never exported."""
    path = write()
    model = export(str(path))

    assert (model.path, model.variant.exporter, model.opset) == (path, "none", 17)
    assert export.inputs(model) == {"x": ["batch", 3]}
    export.agrees(model, batch=5)


def test_file_against_a_file(export, write):
    """The source is the reference, the artifact is under test."""
    model = export(str(write("a.onnx", "Relu")), artifact=write("b.onnx", "Abs"))
    feeds = {"x": np.array([[-1.0, 0.0, 2.0]], np.float32)}

    assert model.run(feeds)["y"].tolist() == [[1, 0, 2]]
    assert model.reference(feeds)["y"].tolist() == [[0, 0, 2]]


def test_files_whose_outputs_are_called_differently(export, write):
    """Nobody declared names: those of the file under test count."""
    model = export(str(write("a.onnx", outputs=("first",))), artifact=write("b.onnx", outputs=("second",)))

    assert list(model.signature.outputs) == ["second"]
    export.agrees(model)


@pytest.mark.parametrize("outputs", [None, ["y"]])
def test_file_against_a_torch_model(export, write, outputs):
    """The model's natural output name is another than the file's, declared or not."""
    model = export(relu(), inputs={"x": "float32[batch, 3]"}, outputs=outputs, artifact=write())

    export.agrees(model, batch=4)


def test_artifact_is_held_to_the_contract(export, write):
    """What was declared is what the file must have."""
    path = write()
    with pytest.raises(ContractViolation, match="inputs are x; declared: pixels"):
        export(relu(), inputs={"pixels": "float32[batch, 3]"}, artifact=path)
    with pytest.raises(ContractViolation, match="outputs are y; declared: scores"):
        export(relu(), inputs={"x": "float32[batch, 3]"}, outputs=["scores"], artifact=path)
    with pytest.raises(ContractViolation, match="opset 20 was asked for, the file is at opset 17"):
        export(relu(), "none", 20, inputs={"x": "float32[batch, 3]"}, artifact=path)


def test_domains_of_an_artifact(export, write):
    """Without a declaration any domain ONNX Runtime loads will do; with one, only those."""
    path = write(operator="Gelu", domain="com.microsoft")
    model = export(str(path))

    assert model.operators == {"com.microsoft.Gelu": 1}
    with pytest.raises(ContractViolation, match=r"com\.microsoft\.Gelu \(1x\) is outside the declared domains"):
        export(str(path), domains=("ai.onnx.contrib",))


def test_file_is_not_exported(export, write):
    """An exporter for a file, and no file for exporter none, are refused with what is accepted."""
    with pytest.raises(ExporterError, match=r"does not take net\.onnx \(ONNX file\); accepted for it: none"):
        export(str(write()), "dynamo")
    with pytest.raises(ExporterError, match="accepted for it: dynamo, torchscript"):
        export(relu(), "none", inputs={"x": "float32[n, 3]"})


def test_artifact_that_changes_is_looked_at_again(export, write):
    """The same path with another content is another file."""
    arguments = {"inputs": {"x": "float32[batch, 3]"}}
    feeds = {"x": -np.ones((1, 3), np.float32)}
    before = export(relu(), artifact=write(operator="Relu"), **arguments).run(feeds)["y"]
    path = write(operator="Abs")
    os.utime(path, ns=(1, 1))
    after = export(relu(), artifact=path, **arguments).run(feeds)["y"]

    assert (before.max(), after.max()) == (0, 1)


@pytest.mark.parametrize("content", [b"", b"junk junk", None])
def test_damaged_file(export, write, content):
    """As the source it is a broken test, as the artifact a failed export."""
    good = write()
    bad = good.with_name("bad.onnx")
    bad.write_bytes(good.read_bytes()[:-20] if content is None else content)

    with pytest.raises(SourceError, match=r"bad\.onnx"):
        export(str(bad))
    with pytest.raises(ExportFailed):
        export(str(good), artifact=bad)


def with_external_data(path, location):
    """Move the weight of a file to another file."""
    model = onnx.load(str(path))
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=str(location))
    tensor.external_data.add(key="length", value="12")
    path.write_bytes(model.SerializeToString())


def scaled(write, name):
    """A file with one weight."""
    weight = numpy_helper.from_array(np.ones(3, np.float32), "w")
    return write(name, "Mul", inputs=("x", "w"), initializers=[weight])


@pytest.mark.parametrize("absolute", [False, True])
def test_data_outside_the_folder_is_refused(export, write, tmp_path, absolute):
    """Neither as the source nor as the artifact may a file reach out of its folder."""
    outside = tmp_path / "outside.bin"
    outside.write_bytes(np.ones(3, np.float32).tobytes())
    path = scaled(write, "inner/net.onnx")
    with_external_data(path, outside if absolute else "../outside.bin")

    with pytest.raises(SourceError, match="is refused: tensor 'w' keeps its data outside"):
        export(str(path))
    with pytest.raises(SourceError, match="is refused: tensor 'w' keeps its data outside"):
        export(relu(), inputs={"x": "float32[batch, 3]"}, artifact=path)


def test_data_through_a_link_is_refused(export, write, tmp_path):
    """A link inside the folder that leads out of it is the same."""
    (tmp_path / "outside.bin").write_bytes(np.ones(3, np.float32).tobytes())
    path = scaled(write, "inner/net.onnx")
    (path.parent / "weights.bin").symlink_to(tmp_path / "outside.bin")
    with_external_data(path, "weights.bin")

    with pytest.raises(SourceError, match="is refused"):
        export(str(path))


def test_data_beside_the_file(export, write):
    """It counts in the size, and in the fingerprint."""
    path = scaled(write, "inner/net.onnx")
    with_external_data(path, "weights.bin")
    with pytest.raises(SourceError, match=r"'weights\.bin', which is missing beside the file"):
        export(str(path))
    weights = path.with_name("weights.bin")
    weights.write_bytes(np.full(3, 2, np.float32).tobytes())
    model = export(str(path))
    before = model.source.fingerprint()
    weights.write_bytes(np.full(3, 4, np.float32).tobytes())

    assert model.files == [path, weights]
    assert model.size_bytes == path.stat().st_size + 12
    assert model.weights_bytes == 12
    assert model.source.fingerprint() != before
