"""Damaged and hostile files of every format: a clear error in bounded time, nothing run, nothing written."""

from __future__ import annotations

import json
import os
import pickle
import random
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest

from pytest_onnxprep.errors import OnnxPrepError, SourceError
from pytest_onnxprep.sources.load import load_source

FORMATS = ("onnx", "tflite", "script", "program", "checkpoint", "safetensors", "keras", "h5", "saved_model")


class Bomb:
    """Pickled, it would make a file when it is read."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        """The call that a careless reader makes."""
        return (Path.touch, (Path(self.path),))


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    """One sound file of a format, made once."""
    folder = tmp_path_factory.mktemp("sound")
    made = {}

    def make(kind):
        if kind not in made:
            made[kind] = MAKERS[kind](folder)
        return made[kind]

    return make


def make_onnx(folder):
    """A graph of one operator, with weights."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    weights = numpy_helper.from_array(np.ones((4, 3), np.float32), "w")
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", size]) for name, size in (("x", 4), ("y", 3))]
    graph = helper.make_graph([helper.make_node("MatMul", ["x", "w"], ["y"])], "g", ends[:1], ends[1:], [weights])
    path = folder / "net.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), str(path))
    return path


def make_torch(kind):
    """Files of PyTorch's."""

    def make(folder):
        torch = pytest.importorskip("torch")
        net = torch.nn.Linear(4, 3)
        path = folder / {"script": "net.pt", "program": "net.pt2", "checkpoint": "net.pth"}.get(kind, "net.safetensors")
        if kind == "script":
            torch.jit.save(torch.jit.script(net), str(path))
        elif kind == "program":
            torch.export.save(torch.export.export(net, (torch.ones(2, 4),)), str(path))
        elif kind == "checkpoint":
            torch.save(net.state_dict(), path)
        else:
            pytest.importorskip("safetensors.torch").save_file(net.state_dict(), str(path))
        return path

    return make


def keras_model():
    """A dense layer."""
    keras = pytest.importorskip("keras")
    return keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])


def make_keras(suffix):
    """Keras's two formats."""

    def make(folder):
        path = folder / f"net.{suffix}"
        keras_model().save(path)
        return path

    return make


def make_tflite(folder):
    """A converted model."""
    tf = pytest.importorskip("tensorflow")
    path = folder / "net.tflite"
    path.write_bytes(tf.lite.TFLiteConverter.from_keras_model(keras_model()).convert())
    return path


def make_saved_model(folder):
    """A folder."""
    path = folder / "saved"
    keras_model().export(path, verbose=False)
    return path


MAKERS = {
    "onnx": make_onnx,
    "tflite": make_tflite,
    "keras": make_keras("keras"),
    "h5": make_keras("h5"),
    "saved_model": make_saved_model,
    **{kind: make_torch(kind) for kind in ("script", "program", "checkpoint", "safetensors")},
}


def truncated(data):
    """The first half."""
    return data[: len(data) // 2]


def emptied(_):
    """Nothing."""
    return b""


def another_format(_):
    """A wrong extension."""
    return b"<!DOCTYPE html><html>Not Found</html>" * 20


def flipped(data):
    """Bits turned over near the start, where the structure is described."""
    changed = bytearray(data)
    rng = random.Random(7)
    for _ in range(40):
        changed[rng.randrange(min(len(changed), 2000))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def load_and_run(path):
    """What a check does first."""
    source = load_source(path)
    source.run({"x": np.zeros((1, 4), np.float32)}, source.derived_signature())


@pytest.mark.parametrize("damage", [truncated, emptied, another_format, flipped], ids=lambda damage: damage.__name__)
@pytest.mark.parametrize("kind", FORMATS)
def test_damaged(sound, tmp_path, kind, damage):
    """An error that names the file, of a kind that no failing model raises."""
    original = sound(kind)
    path = tmp_path / original.name
    if original.is_dir():
        shutil.copytree(original, path)
        inner = path / "saved_model.pb"
        inner.write_bytes(damage(inner.read_bytes()))
    else:
        path.write_bytes(damage(original.read_bytes()))
    with pytest.raises(OnnxPrepError) as caught:
        load_and_run(path)
    text = str(caught.value)

    assert path.name in text
    assert "Traceback" not in text
    assert len(text) < 1200


def test_truncated_weights_of_a_saved_model(sound, tmp_path):
    """The graph is whole, the variables are not."""
    path = tmp_path / "saved"
    shutil.copytree(sound("saved_model"), path)
    data = next((path / "variables").glob("*.data*"))
    data.write_bytes(data.read_bytes()[:10])

    with pytest.raises(SourceError, match="cannot be read"):
        load_source(path)


@pytest.mark.parametrize("name", ["net.pt", "net.pth", "old.pt"])
def test_pickles_are_not_run(tmp_path, name):
    """Neither torch's archive nor its old format."""
    torch = pytest.importorskip("torch")
    path, proof = tmp_path / name, tmp_path / "proof"
    torch.save({"w": torch.ones(1), "bomb": Bomb(proof)}, path, _use_new_zipfile_serialization=name != "old.pt")

    with pytest.raises(SourceError, match=r"is a pickled Python object .*so it was not read"):
        load_source(path)
    assert not proof.exists()


def rewritten(source, target, change):
    """A copy of a zip archive with some entries changed."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as new:
        for info in old.infolist():
            new.writestr(info.filename, change(info.filename, old.read(info)))


def test_samples_of_a_program_are_not_run(sound, tmp_path):
    """torch.export.load would unpickle them with whatever they name."""
    proof, path = tmp_path / "proof", tmp_path / "net.pt2"
    bomb = pickle.dumps(Bomb(proof))
    rewritten(sound("program"), path, lambda name, data: bomb if "sample_inputs" in name else data)

    with pytest.raises(SourceError, match=r"net\.pt2"):
        load_source(path)
    assert not proof.exists()


def test_sizes_of_a_program_are_not_run(sound, tmp_path):
    """Torch hands the text of a size to SymPy, and SymPy to eval."""
    proof, path = tmp_path / "proof", tmp_path / "net.pt2"
    code = f"__import__('pathlib').Path({str(proof)!r}).touch()"

    def change(name, data):
        if not name.endswith("models/model.json"):
            return data
        described = json.loads(data)
        described["planted"] = {"as_expr": {"expr_str": code}}
        return json.dumps(described).encode()

    rewritten(sound("program"), path, change)
    with pytest.raises(SourceError, match="what should be the size of a tensor is code"):
        load_source(path)
    assert not proof.exists()


@pytest.mark.parametrize("suffix", ["keras", "h5"])
def test_lambdas_are_not_run(tmp_path, suffix):
    """Keras keeps the byte code of a Lambda layer in the file."""
    keras = pytest.importorskip("keras")
    proof, path = tmp_path / "proof", tmp_path / f"net.{suffix}"
    code = f"lambda x: (__import__('pathlib').Path({str(proof)!r}).touch(), x)[1]"
    keras.Sequential([keras.Input((4,)), keras.layers.Lambda(eval(code))]).save(path)
    proof.unlink(missing_ok=True)

    with pytest.raises(SourceError, match=r"holds Python code .a Lambda layer.* so it was not read"):
        load_source(path)
    assert not proof.exists()


def test_saved_models_that_act_are_refused(tmp_path):
    """An operator that writes a file is part of no model."""
    tf = pytest.importorskip("tensorflow")
    proof = tmp_path / "proof"

    class Writes(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec((None,), tf.float32, name="x")])
        def call(self, x):
            tf.io.write_file(str(proof), "here")
            return {"y": x}

    writes = Writes()
    tf.saved_model.save(writes, str(tmp_path / "saved"), signatures=writes.call)
    with pytest.raises(SourceError, match="its graph holds WriteFile, which acts outside the model"):
        load_source(tmp_path / "saved")
    assert not proof.exists()


def test_hdf5_that_points_elsewhere(tmp_path):
    """Links to other files are not followed."""
    h5py = pytest.importorskip("h5py")
    path = tmp_path / "net.h5"
    with h5py.File(path, "w") as file:
        file["model_weights"] = h5py.ExternalLink("/etc/passwd", "/")
    with pytest.raises(SourceError, match="is a link to another file"):
        load_source(path)
    with h5py.File(path, "w") as file:
        file.create_dataset("w", (8,), "u1", external=[("/etc/hostname", 0, 8)])
    with pytest.raises(SourceError, match="keeps its data in another file"):
        load_source(path)


def test_sizes_beyond_reason(tmp_path):
    """A few bytes on disk do not become terabytes in memory."""
    h5py = pytest.importorskip("h5py")
    path = tmp_path / "net.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("w", (1 << 20, 1 << 20), "f4", chunks=(1, 1 << 20))
    with pytest.raises(SourceError, match="larger than a model of this file"):
        load_source(path)
    header = json.dumps({"w": {"dtype": "F32", "shape": [1 << 40], "data_offsets": [0, 1 << 42]}}).encode()
    huge = tmp_path / "net.safetensors"
    huge.write_bytes((1 << 60).to_bytes(8, "little") + header)
    with pytest.raises(SourceError, match="its header is longer than the file"):
        load_source(huge)


def test_tflite_sizes_beyond_reason(sound, tmp_path):
    """Found by reading, before the interpreter asks for the memory."""
    pytest.importorskip("tensorflow")
    from tensorflow.lite.tools import flatbuffer_utils

    model = flatbuffer_utils.convert_bytearray_to_object(bytearray(sound("tflite").read_bytes()))
    model.subgraphs[0].tensors[-1].shape = np.array([1 << 20, 1 << 20], np.int32)
    model.subgraphs[0].tensors[-1].shapeSignature = None
    path = tmp_path / "net.tflite"
    path.write_bytes(bytes(flatbuffer_utils.convert_object_to_bytearray(model)))

    with pytest.raises(SourceError, match="has the shape"):
        load_source(path)


def test_archive_that_leaves_its_folder(sound, tmp_path):
    """No entry of a .keras file lies outside of it."""
    path = tmp_path / "net.keras"
    rewritten(sound("keras"), path, lambda _, data: data)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("assets/../../escaped", b"x")

    with pytest.raises(SourceError, match="lies outside of it"):
        load_source(path)
    assert not (tmp_path.parent / "escaped").exists()


def crash(_):
    """What native code does on a file it did not expect."""
    os.kill(os.getpid(), 11)


def hang():
    """Likewise."""
    import time

    time.sleep(600)


def greedy():
    """Likewise."""
    bytearray(1 << 36)


def test_trials_end():
    """A crash, an endless loop and endless memory are words in the parent."""
    from pytest_onnxprep.sources.trial import failure_of

    if not hasattr(os, "fork"):
        pytest.skip("needs fork")
    assert failure_of(crash, 1) == "the native code that reads it crashes (SIGSEGV)"
    assert failure_of(hang, seconds=1.0) == "it did not come to an end within 1 s"
    assert failure_of(greedy, memory=1 << 30) == "it takes more than 1 GB of memory"
    assert failure_of(fine) == ""


def fine():
    """Nothing happens."""
