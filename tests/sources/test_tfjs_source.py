"""TensorFlow.js graph models: read and converted here, run under node where its package is."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess

import numpy as np
import pytest

from model_zoo._tfjs_writer import write_graph_model
from pytest_onnxprep.api import assert_parity
from pytest_onnxprep.errors import ReferenceUnavailable, SourceError
from pytest_onnxprep.sources.load import load_source
from pytest_onnxprep.spec.verdict import Verdict

SHAPE = {"dim": [{"size": "-1"}, {"size": "4"}]}
TYPE = {"type": "DT_FLOAT"}


def write(folder, weights_at="weights.bin"):
    """``y = relu(x @ w + b)`` as tensorflowjs_converter writes it."""
    rng = np.random.default_rng(0)
    w, b = rng.normal(size=(4, 3)).astype("<f4"), rng.normal(size=3).astype("<f4")
    nodes = [
        {"name": "x", "op": "Placeholder", "attr": {"dtype": TYPE, "shape": {"shape": SHAPE}}},
        *(
            {
                "name": name,
                "op": "Const",
                "attr": {"dtype": TYPE, "value": {"tensor": {"dtype": "DT_FLOAT", "tensorShape": {}}}},
            }
            for name in "wb"
        ),
        {
            "name": "product",
            "op": "MatMul",
            "input": ["x", "w"],
            "attr": {"T": TYPE, "transpose_a": {"b": False}, "transpose_b": {"b": False}},
        },
        {"name": "sum", "op": "AddV2", "input": ["product", "b"], "attr": {"T": TYPE}},
        {"name": "y", "op": "Relu", "input": ["sum"], "attr": {"T": TYPE}},
    ]
    described = {
        "format": "graph-model",
        "modelTopology": {"node": nodes, "library": {}, "versions": {"producer": 1}},
        "signature": {
            "inputs": {"data": {"name": "x:0", "dtype": "DT_FLOAT", "tensorShape": SHAPE}},
            "outputs": {
                "scores": {"name": "y:0", "dtype": "DT_FLOAT", "tensorShape": {"dim": [{"size": "-1"}, {"size": "3"}]}}
            },
        },
        "weightsManifest": [
            {
                "paths": [weights_at],
                "weights": [
                    {"name": "w", "shape": [4, 3], "dtype": "float32"},
                    {"name": "b", "shape": [3], "dtype": "float32"},
                ],
            }
        ],
    }
    folder.mkdir(exist_ok=True)
    (folder / "weights.bin").write_bytes(w.tobytes() + b.tobytes())
    (folder / "model.json").write_text(json.dumps(described))
    return folder / "model.json"


def has_package():
    """Whether node and the npm package are to be had."""
    node = shutil.which("node")
    code = "require.resolve('@tensorflow/tfjs', {paths: process.argv.slice(1)})"
    places = [os.getcwd(), *os.environ.get("NODE_PATH", "").split(os.pathsep)]
    return node is not None and not subprocess.run([node, "-e", code, "--", *places], capture_output=True).returncode


def test_what_it_says_of_itself(tmp_path):
    """Inputs of its signature; every byte counts."""
    pytest.importorskip("tensorflow")
    path = write(tmp_path / "net")
    source = load_source(path)

    assert {name: str(spec) for name, spec in source.derived_signature().inputs.items()} == {
        "data": "float32[batch, 4]"
    }
    before = source.fingerprint()
    (path.parent / "weights.bin").write_bytes(base64.b64decode("AAAA") * 20)
    assert source.fingerprint() != before


@pytest.mark.skipif(not has_package(), reason="needs node with the npm package @tensorflow/tfjs")
def test_it_is_the_model(tmp_path, onnx_exporter):
    """Names of the signature at both ends, and TensorFlow.js gives what ONNX Runtime gives."""
    model = onnx_exporter(write(tmp_path / "net"))

    assert [value.name for value in model.session.get_inputs()] == ["data"]
    assert model.output_names == ["scores"]
    assert assert_parity(model, max_examples=15).verdict is Verdict.PASS


@pytest.mark.skipif(not has_package(), reason="needs node with the npm package @tensorflow/tfjs")
def test_channels_first(tmp_path, onnx_exporter):
    """A graph model of pictures becomes a file that has them channels first."""
    tf = pytest.importorskip("tensorflow")
    kernel = np.arange(24, dtype="float32").reshape(2, 2, 3, 2) / 24
    picture = tf.TensorSpec((None, 5, 6, 3), tf.float32, name="image")
    net = tf.function(lambda image: {"mask": tf.nn.conv2d(image, kernel, 1, "SAME")}, input_signature=[picture])
    path = write_graph_model(net.get_concrete_function(), tmp_path / "net")
    model = onnx_exporter(path, options={"inputs_as_nchw": ["image"], "outputs_as_nchw": ["mask"]})

    assert model.session.get_inputs()[0].shape == ["batch", 3, 5, 6]
    assert model.session.get_outputs()[0].shape[1:] == [2, 5, 6]
    assert assert_parity(model, max_examples=10).verdict is Verdict.PASS


def test_node_without_the_package(tmp_path, monkeypatch):
    """What to install, and where."""
    if shutil.which("node") is None:
        pytest.skip("needs node")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("NODE_PATH", raising=False)
    source = load_source(write(tmp_path / "net"))

    with pytest.raises(ReferenceUnavailable, match=r"'net/model\.json' is run .* npm install @tensorflow/tfjs"):
        source.run({"data": np.zeros((1, 4), "float32")}, source.derived_signature())


def test_no_node(tmp_path, monkeypatch):
    """Likewise."""
    monkeypatch.setattr(shutil, "which", lambda _: None)
    source = load_source(write(tmp_path / "net"))

    with pytest.raises(ReferenceUnavailable, match="which needs node"):
        source.run({"data": np.zeros((1, 4), "float32")}, source.derived_signature())


STORY = """
from pytest_onnxprep import onnx_export, parity

@onnx_export("net/model.json")
@parity()
def test_net(onnx_model):
    raise AssertionError("never run")

def test_plain(onnx_exporter):
    onnx_exporter("net/model.json")
    raise AssertionError("never run")
"""


def test_nothing_to_run_it_with_is_a_skip(pytester, monkeypatch):
    """Marked and plain tests are skipped with what to install, and the report says so."""
    pytest.importorskip("tensorflow")
    monkeypatch.setattr(shutil, "which", lambda _: None)
    write(pytester.path / "net")
    pytester.makepyfile(STORY)

    result = pytester.runpytest_inprocess("-rs", "--onnxprep-json", "report.json")

    result.assert_outcomes(skipped=3)
    result.stdout.fnmatch_lines(["SKIPPED*'net/model.json' is run by TensorFlow.js, which needs node: install it*"])
    told = json.loads((pytester.path / "report.json").read_text())["results"]
    assert [(one["check"], one["verdict"]) for one in told] == [("export", "skip"), ("parity", "skip")]
    assert all("npm install @tensorflow/tfjs" in one["summary"] for one in told)


def test_damaged(tmp_path):
    """Weights elsewhere, weights missing, another format, no JSON."""
    with pytest.raises(SourceError, match="lie outside its folder"):
        load_source(write(tmp_path / "net", "../weights.bin"))
    with pytest.raises(SourceError, match=r"lacks its weights: 'shard\.bin'"):
        load_source(write(tmp_path / "net", "shard.bin"))
    path = tmp_path / "net" / "model.json"
    path.write_text('{"modelTopology": {"keras_version": "2"}, "weightsManifest": []}')
    with pytest.raises(SourceError, match="is a layers model"):
        load_source(path)
    path.write_text('{"modelTopology": {')
    with pytest.raises(SourceError, match="is damaged"):
        load_source(path)


@pytest.mark.parametrize(
    ("nodes", "signature"),
    [
        ([5], None),
        ({}, None),
        ([{"name": "x"}], None),
        ([{"name": "x", "op": "Placeholder", "input": [5]}], None),
        ([{"name": "x", "op": "Placeholder", "attr": {"dtype": 5}}], None),
        ([{"name": "x", "op": "Placeholder", "attr": {"shape": {"shape": {"dim": [{"size": "wide"}]}}}}], None),
        ([], []),
        ([], {"inputs": [1]}),
        ([], {"inputs": {"x": {"name": "x:0", "tensorShape": {"dim": 5}}}}),
    ],
)
def test_graphs_that_are_none(tmp_path, nodes, signature):
    """What is read of a graph later on is looked at when it is loaded."""
    path = write(tmp_path)
    described = json.loads(path.read_text())
    described["modelTopology"]["node"], described["signature"] = nodes, signature
    path.write_text(json.dumps(described))

    with pytest.raises(SourceError, match=r"model\.json' is damaged: its nodes or its signature are none"):
        load_source(path)


def described(path, **changed):
    """A ``model.json`` whose first weight says something else."""
    content = json.loads(path.read_text())
    content["weightsManifest"][0]["weights"][0].update(changed)
    path.write_text(json.dumps(content))
    return path


@pytest.mark.parametrize("size", [0, 30, 59, 61, 600])
def test_weights_of_another_length(tmp_path, size):
    """Truncated, empty or another model's: told before node is looked for."""
    path = write(tmp_path)
    (tmp_path / "weights.bin").write_bytes(bytes(size))
    with pytest.raises(SourceError, match=rf"describes 60 bytes of weights, 'weights\.bin' holds {size}; fetch"):
        load_source(str(path))


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"shape": [10**6, 10**6]}, "describes 4000000000012 bytes of weights"),
        ({"shape": [-4, 3]}, r"weight 'w' has the shape \[-4, 3\]"),
        ({"shape": [4.5, 3]}, r"weight 'w' has the shape \[4\.5, 3\]"),
        ({"shape": 7}, "damaged"),
        ({"dtype": "float128"}, "weight 'w' is of type 'float128'"),
        ({"quantization": {"dtype": "uint8", "min": 0, "scale": 1}}, "describes 24 bytes of weights"),
        ({"quantization": 8}, "damaged"),
    ],
    ids=["absurd", "negative", "fraction", "no list", "type", "quantised", "no mapping"],
)
def test_weights_that_are_not_what_the_manifest_says(tmp_path, changed, words):
    """Nothing of that size is made, and nothing is read."""
    with pytest.raises(SourceError, match=words):
        load_source(str(described(write(tmp_path), **changed)))


def test_quantised_weights_and_texts(tmp_path):
    """Weights in steps take fewer bytes; of a group with texts the length is not known."""
    path = described(write(tmp_path), quantization={"dtype": "uint16", "min": 0, "scale": 1})
    (tmp_path / "weights.bin").write_bytes(bytes(24 + 12))
    assert load_source(str(path)).framework == "tfjs"
    (tmp_path / "weights.bin").write_bytes(bytes(1000))
    assert load_source(str(described(path, quantization={"dtype": "string"}))).framework == "tfjs"
