"""What a file holds: described, shown, and stamped with its provenance."""

from __future__ import annotations

import json
import stat
import subprocess
import sys
import types
import urllib.request
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from pytest_onnxprep import ModelDescription, OnnxPrepError, SpecError, write_metadata
from pytest_onnxprep.artifacts.onnx_model import OnnxModel
from pytest_onnxprep.sources.onnx_file import OnnxFileSource
from pytest_onnxprep.spec.variant import Variant
from pytest_onnxprep.spec.verdict import CheckResult, Verdict


def opened(path: Path) -> OnnxModel:
    """A file of one's own, as an `OnnxModel`."""
    source = OnnxFileSource(path)
    return OnnxModel(path, source.derived_signature(), source, Variant("none"), {})


def rich(path: Path) -> Path:
    """A file with a subgraph, a function, a custom domain, two dtypes, metadata and external data."""
    value = helper.make_tensor_value_info
    weight = numpy_helper.from_array(np.arange(4096, dtype=np.float32).reshape(64, 64), "weight")
    then = helper.make_graph(
        [helper.make_node("Add", ["m", "one"], ["t"])],
        "then",
        [],
        [value("t", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.ones(1, np.float32), "one")],
    )
    other = helper.make_graph(
        [helper.make_node("Neg", ["m"], ["e"])], "else", [], [value("e", TensorProto.FLOAT, None)]
    )
    nodes = [
        helper.make_node("MatMul", ["x", "weight"], ["m"]),
        helper.make_node("If", ["flag"], ["c"], then_branch=then, else_branch=other),
        helper.make_node("Reshape", ["c", "shape"], ["r"]),
        helper.make_node("Gelu", ["r"], ["g"], domain="com.microsoft"),
        helper.make_node("Twice", ["g"], ["y"], domain="mine"),
    ]
    twice = helper.make_function(
        "mine", "Twice", ["a"], ["b"], [helper.make_node("Add", ["a", "a"], ["b"])], [helper.make_opsetid("", 17)]
    )
    graph = helper.make_graph(
        nodes,
        "rich",
        [value("x", TensorProto.FLOAT, ["batch", 64]), value("flag", TensorProto.BOOL, [])],
        [value("y", TensorProto.FLOAT, ["batch", 8, None])],
        [weight, numpy_helper.from_array(np.array([-1, 8, 8], np.int64), "shape")],
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1), helper.make_opsetid("mine", 1)]
    model = helper.make_model(
        graph, opset_imports=opsets, functions=[twice], ir_version=8, producer_name="hand", producer_version="1.2"
    )
    helper.set_model_props(model, {"licence": "Apache-2.0"})
    onnx.save(model, path, save_as_external_data=True, location="weights.bin", size_threshold=1024)
    return path


@pytest.fixture
def model(tmp_path: Path) -> OnnxModel:
    """A file that has everything."""
    return opened(rich(tmp_path / "rich.onnx"))


def test_everything_a_file_holds_is_described(model: OnnxModel) -> None:
    """Versions, inputs, outputs, operators, weights, custom domains, functions, external files and metadata."""
    found = model.describe()

    assert (found.ir_version, found.producer) == (8, "hand 1.2")
    assert found.opsets == {"ai.onnx": 17, "com.microsoft": 1, "mine": 1}
    assert [str(tensor) for tensor in found.inputs] == ["x: float32[batch, 64]", "flag: bool[]"]
    assert [str(tensor) for tensor in found.outputs] == ["y: float32[batch, 8, ?]"]
    assert found.metadata == {"licence": "Apache-2.0"}
    assert found.operators["Add"] == 2
    assert found.node_count == 8
    assert [(w.dtype, w.count, w.bytes) for w in found.initializers] == [("float32", 2, 16388), ("int64", 1, 24)]
    assert str(found.largest[0]) == "weight: float32[64, 64]"
    assert found.custom_domains == {"com.microsoft": {"Gelu": 1}}
    assert found.functions == {"mine.Twice": 1}
    assert found.external_files == {"weights.bin": 16384}
    assert found.size_bytes == model.size_bytes


def test_coverage_counts_what_shape_inference_knows(tmp_path: Path) -> None:
    """A tensor that an unknown operator writes has no rank, and neither has what is computed from it."""
    value = helper.make_tensor_value_info
    nodes = [
        helper.make_node("Relu", ["x"], ["a"]),
        helper.make_node("Secret", ["a"], ["b"], domain="mine"),
        helper.make_node("Relu", ["b"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes, "g", [value("x", TensorProto.FLOAT, ["n", 2])], [value("y", TensorProto.FLOAT, None)]
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17), helper.make_opsetid("mine", 1)])
    path = tmp_path / "gap.onnx"
    path.write_bytes(proto.SerializeToString())
    reference = rich(tmp_path / "rich.onnx")
    model = OnnxModel(path, opened(reference).signature, OnnxFileSource(reference), Variant("none"), {})

    coverage = model.describe().coverage

    assert (coverage.tensors, coverage.typed, coverage.ranked, coverage.sized) == (3, 2, 1, 1)
    assert coverage.share == pytest.approx(1 / 3)


def test_a_description_goes_through_json_and_prints_the_same(model: OnnxModel) -> None:
    """``to_json`` loses nothing that ``str`` says."""
    found = model.describe()
    again = ModelDescription.from_json(json.loads(json.dumps(found.to_json())))

    assert str(again) == str(found)
    for word in ("IR version 8", "hand 1.2", "com.microsoft: Gelu 1", "mine.Twice", "weights.bin 16.4 kB", "licence ="):
        assert word in str(found)


def test_a_long_description_stays_readable(model: OnnxModel) -> None:
    """Hundreds of metadata entries are counted, not printed."""
    proto = onnx.load(str(model.path), load_external_data=False)
    helper.set_model_props(proto, {f"key{index}": "v" * 500 for index in range(200)})
    model.path.write_bytes(proto.SerializeToString())

    text = str(opened(model.path).describe())

    assert "... and 188 more" in text
    assert max(map(len, text.splitlines())) < 150


def test_metadata_says_where_a_file_comes_from(model: OnnxModel, tmp_path: Path) -> None:
    """Source, versions, spec and parity are in the copy; the original, its weights and foreign keys are as before."""
    before = model.path.read_bytes()
    figures = {"examples": 50, "max_abs": np.float32(0.5), "tightest": {"atol": 1e-6}, "replay": "/somewhere"}
    result = CheckResult(Verdict.PASS, "50 examples agree", figures)

    path = model.write_metadata(tmp_path / "out" / "stamped.onnx", parity=result, extra={"team": "vision"})

    stamped = {entry.key: entry.value for entry in onnx.load(str(path)).metadata_props}
    assert stamped["onnxprep.source"] == "rich.onnx (ONNX file)"
    assert stamped["onnxprep.framework"] == "onnx"
    assert json.loads(stamped["onnxprep.packages"])["onnx"] == onnx.__version__
    assert len(stamped["onnxprep.spec_hash"]) == 32
    assert json.loads(stamped["onnxprep.parity"]) == {
        "verdict": "pass",
        "examples": 50,
        "max_abs": 0.5,
        "tightest": {"atol": 1e-6},
    }
    assert (stamped["licence"], stamped["team"]) == ("Apache-2.0", "vision")
    assert model.path.read_bytes() == before
    assert (path.parent / "weights.bin").read_bytes() == (model.path.parent / "weights.bin").read_bytes()
    copy = opened(path)
    feeds = {"x": np.ones((2, 64), np.float32), "flag": np.array(True)}
    np.testing.assert_array_equal(copy.run(feeds)["y"], model.run(feeds)["y"])


def test_metadata_names_the_commit(model: OnnxModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The commit of the working directory is told, and whether files were changed since; none without a repository."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    without = write_metadata(model, tmp_path / "a.onnx")
    git = ["git", "-c", "user.name=n", "-c", "user.email=e@example.org", "-c", "commit.gpgsign=false"]
    (tmp_path / "file").write_text("one")
    for arguments in (["init", "-q"], ["add", "file"], ["commit", "-q", "-m", "first"]):
        subprocess.run([*git, *arguments], check=True, cwd=tmp_path)
    clean = write_metadata(model, tmp_path / "b.onnx")
    (tmp_path / "file").write_text("two")
    dirty = write_metadata(model, tmp_path / "c.onnx")

    commits = [
        {entry.key: entry.value for entry in onnx.load(str(path)).metadata_props}.get("onnxprep.git_commit")
        for path in (without, clean, dirty)
    ]

    assert commits[0] is None
    assert commits[1] is not None
    assert len(commits[1]) == 40
    assert commits[2] == f"{commits[1]}-dirty"


def test_another_signature_has_another_spec_hash(model: OnnxModel, tmp_path: Path) -> None:
    """The hash is the same for the same declaration, and changes with it."""
    again = opened(model.path)
    other = OnnxModel(model.path, model.signature, model.source, Variant("none", 17), {})
    hashes = []
    for index, one in enumerate((model, again, other)):
        path = write_metadata(one, tmp_path / f"{index}.onnx")
        hashes.append({e.key: e.value for e in onnx.load(str(path)).metadata_props}["onnxprep.spec_hash"])

    assert hashes[0] == hashes[1] != hashes[2]


def test_options_that_are_functions_are_named(model: OnnxModel, tmp_path: Path) -> None:
    """Translations and rewritten models are named, and the hash of a declaration holds no address of an object."""
    stamps = []
    for file in ("a.onnx", "b.onnx"):

        def translate(x: object) -> object:
            return x

        options = {"custom_translation_table": {translate: translate}, "rewritten": model.run, "optimize": True}
        made = OnnxModel(model.path, model.signature, model.source, Variant("dynamo", 20, options), {})
        write_metadata(made, tmp_path / "copy" / file)
        stamps.append({e.key: e.value for e in onnx.load(str(tmp_path / "copy" / file)).metadata_props})

    told = json.loads(stamps[0]["onnxprep.options"])
    assert [name.rpartition(".")[2] for name in told["custom_translation_table"].values()] == ["translate"]
    assert told["rewritten"].endswith("OnnxModel.run")
    assert told["optimize"] is True
    assert stamps[0]["onnxprep.options"] == stamps[1]["onnxprep.options"]
    assert stamps[0]["onnxprep.spec_hash"] == stamps[1]["onnxprep.spec_hash"]


def test_nothing_is_overwritten_unless_asked(model: OnnxModel) -> None:
    """A file that is there stays, the model's own too; overwrite=True replaces it and keeps the external data."""
    with pytest.raises(OnnxPrepError, match="exists; overwrite=True replaces it"):
        model.write_metadata(model.path)

    model.write_metadata(model.path, overwrite=True)

    assert "onnxprep.source" in opened(model.path).describe().metadata
    assert stat.S_IMODE(model.path.stat().st_mode) == 0o644
    assert sorted(path.name for path in model.path.parent.iterdir()) == ["rich.onnx", "weights.bin"]


def test_metadata_never_touches_the_cache(model: OnnxModel) -> None:
    """A path beside a record of the store is refused, whatever is asked."""
    (model.path.parent / "provenance.json").write_text("{}")

    with pytest.raises(OnnxPrepError, match="lies in the export cache"):
        model.write_metadata(model.path, overwrite=True)


def test_foreign_weights_beside_the_target_are_not_overwritten(model: OnnxModel, tmp_path: Path) -> None:
    """Data of the same name and other bytes belongs to somebody else."""
    other = tmp_path / "other"
    other.mkdir()
    (other / "weights.bin").write_bytes(b"theirs")

    with pytest.raises(OnnxPrepError, match=r"holds other data than the model's weights"):
        model.write_metadata(other / "stamped.onnx")

    assert (other / "weights.bin").read_bytes() == b"theirs"
    assert not (other / "stamped.onnx").exists()


def test_what_is_no_plain_data_is_refused(model: OnnxModel, tmp_path: Path) -> None:
    """The message names the key and what is accepted."""
    with pytest.raises(SpecError, match=r"'made_by' cannot be written as JSON .* text, numbers, lists"):
        model.write_metadata(tmp_path / "x.onnx", extra={"made_by": object()})


def test_netron_serves_the_file(model: OnnxModel) -> None:
    """The call returns an address at once, where the file is to be had, without a browser."""
    netron = pytest.importorskip("netron")
    address = model.show(browse=False)
    try:
        with urllib.request.urlopen(address, timeout=10) as page:
            text = page.read().decode()
        assert "rich.onnx" in text
    finally:
        netron.stop(int(address.rpartition(":")[2]))


def test_a_port_and_a_browser_are_handed_on(model: OnnxModel, monkeypatch: pytest.MonkeyPatch) -> None:
    """Netron gets what was asked for."""
    calls = []
    stand_in = types.ModuleType("netron")
    stand_in.start = lambda file, **more: (calls.append((file, more)), ("localhost", 1234))[1]
    monkeypatch.setitem(sys.modules, "netron", stand_in)

    assert model.show(port=1234) == "http://localhost:1234"
    assert calls == [(str(model.path), {"address": 1234, "browse": True})]


def test_without_netron_the_message_says_what_to_install(model: OnnxModel, monkeypatch: pytest.MonkeyPatch) -> None:
    """A missing package is named, with the command that brings it."""
    monkeypatch.setitem(sys.modules, "netron", None)

    with pytest.raises(OnnxPrepError, match="pip install netron"):
        model.show()
