"""Baselines on disk: what is kept, what is said of what changed, and what a cut-off run leaves."""

from __future__ import annotations

import json
import os

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from pytest_onnxprep.artifacts import baseline
from pytest_onnxprep.artifacts.onnx_model import OnnxModel
from pytest_onnxprep.errors import BaselineError
from pytest_onnxprep.runtime.session import make_session
from pytest_onnxprep.spec.variant import Variant

KEY = "tests/test_a.py::TestNet::test_net[resnet-dynamo-opset20]"
HERE = {
    "python": "3.11.7",
    "platform": "Linux",
    "packages": {"onnxruntime": "1.32.0", "torch": "2.13.0"},
    "cpu": {"model": "A", "quota": None, "flags": ["avx2", "fma"]},
}


def write(folder, *, features=4, value=1.0, external=False, output="y"):
    """A graph ``y = x + w`` of as many features."""
    folder.mkdir(parents=True, exist_ok=True)
    weight = helper.make_tensor(
        "w", TensorProto.FLOAT, [features], np.full(features, value, np.float32).tobytes(), raw=True
    )
    graph = helper.make_graph(
        [helper.make_node("Add", ["x", "w"], [output])],
        "add",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", features])],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, ["batch", features])],
        [weight],
    )
    path = folder / "net.onnx"
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(proto, path, save_as_external_data=external, location="net.data", size_threshold=0)
    return OnnxModel(path, None, None, Variant("none"), {})


def save(folder, model, at="batch=1", environment=HERE, **figures):
    """Save with these figures."""
    session = make_session(model.path)
    return baseline.save(folder, KEY, model, session, environment=environment, at=at, figures=figures)


def test_what_was_saved_is_found_again(tmp_path):
    """The file, its signature, its environment and its figures, under the same key only."""
    model = write(tmp_path / "model")
    save(tmp_path / "base", model, min_ms=0.5)
    found = baseline.load(tmp_path / "base", KEY)

    assert found.path.read_bytes() == model.path.read_bytes()
    assert found.signature == {"inputs": [["x", "float32", ["?", 4]]], "outputs": [["y", "float32", ["?", 4]]]}
    assert found.figures == {"batch=1": {"min_ms": 0.5}}
    assert found.environment["packages"] == {"onnxruntime": "1.32.0"}
    assert baseline.is_same_file(found, model)
    assert baseline.load(tmp_path / "base", KEY.replace("20", "18")) is None
    assert baseline.load(tmp_path / "nowhere", KEY) is None


def test_external_data_comes_along(tmp_path):
    """The copy runs without the original."""
    model = write(tmp_path / "model", external=True, value=3.0)
    save(tmp_path / "base", model)
    for path in model.files:
        path.unlink()
    found = baseline.load(tmp_path / "base", KEY)

    (result,) = make_session(found.path).run(None, {"x": np.zeros((1, 4), np.float32)})
    assert result.tolist() == [[3.0] * 4]


def test_a_new_file_replaces_the_old_one_and_its_figures(tmp_path):
    """Sizes add up while the file stays; another file starts anew, and the old one goes unless another test has it."""
    one, two = write(tmp_path / "one"), write(tmp_path / "two", value=2.0)
    save(tmp_path / "base", one, at="batch=1", min_ms=1)
    save(tmp_path / "base", one, at="batch=8", min_ms=8)
    assert set(baseline.load(tmp_path / "base", KEY).figures) == {"batch=1", "batch=8"}

    save(tmp_path / "base", two, at="batch=1", min_ms=2)
    assert baseline.load(tmp_path / "base", KEY).figures == {"batch=1": {"min_ms": 2}}
    assert len(list((tmp_path / "base" / "models").iterdir())) == 1


def test_files_that_another_test_still_has_are_kept(tmp_path):
    """Two tests share a file; one moving on does not take it from the other."""
    one, two = write(tmp_path / "one"), write(tmp_path / "two", value=2.0)
    folder, session = tmp_path / "base", make_session(one.path)
    save(folder, one)
    baseline.save(folder, "other", one, session, environment=HERE, at="", figures={})
    save(folder, two)

    assert baseline.load(folder, "other").path.read_bytes() == one.path.read_bytes()
    assert baseline.load(folder, KEY).path.read_bytes() == two.path.read_bytes()


def test_a_run_that_is_cut_off_leaves_the_old_baseline(tmp_path, monkeypatch):
    """Until the record is replaced the old one holds, and nothing half-written is taken for a baseline."""
    one, two = write(tmp_path / "one"), write(tmp_path / "two", value=2.0)
    save(tmp_path / "base", one)

    def cut_off(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", cut_off)
    with pytest.raises(KeyboardInterrupt):
        save(tmp_path / "base", two)

    assert baseline.is_same_file(baseline.load(tmp_path / "base", KEY), one)
    assert [path.name for path in (tmp_path / "base").iterdir() if path.name.endswith(".tmp")] == []


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda record, _: record.write_text("{"), "is damaged"),
        (lambda record, _: record.write_text('{"schema": "onnxprep-baseline/9"}'), "of schema 'onnxprep-baseline/9'"),
        (
            lambda record, _: record.write_text(record.read_text().replace("models/", "../../")),
            "outside its own folder",
        ),
        (lambda _, model: model.unlink(), "is missing"),
        (lambda _, model: model.write_bytes(model.read_bytes() + b"\0"), "cannot be used|is not what was saved"),
    ],
)
def test_what_cannot_be_used_is_said(tmp_path, damage, said):
    """A damaged baseline is an error that names the record; it is never taken for a missing one."""
    record = save(tmp_path / "base", write(tmp_path / "model"))
    damage(record, baseline.load(tmp_path / "base", KEY).path)

    with pytest.raises(BaselineError, match=said):
        baseline.load(tmp_path / "base", KEY)


def test_a_folder_that_cannot_be_written(tmp_path):
    """The error names the folder."""
    (tmp_path / "base").write_text("a file")

    with pytest.raises(BaselineError, match="cannot save the baseline in"):
        save(tmp_path / "base", write(tmp_path / "model"))


def test_signature_changes_are_told_one_by_one(tmp_path):
    """Shape, name, presence; names of dims are not part of it."""
    before = baseline.signature_of(make_session(write(tmp_path / "a").path))
    wider = baseline.signature_of(make_session(write(tmp_path / "b", features=8).path))
    renamed = baseline.signature_of(make_session(write(tmp_path / "c", output="z").path))

    assert baseline.signature_changes(before, before) == []
    assert baseline.signature_changes(before, wider) == [
        "input 'x' was float32[?, 4], is float32[?, 8]",
        "output 'y' was float32[?, 4], is float32[?, 8]",
    ]
    assert baseline.signature_changes(before, renamed) == ["output 'y' is gone", "output 'z' is new"]


def test_another_machine_is_told_by_what_differs():
    """CPU, limits and the versions that decide speed; an exporter's version does not."""
    there = json.loads(json.dumps(HERE))
    there["cpu"] |= {"model": "B", "quota": 2.0}
    there["packages"]["torch"] = "2.9.0"

    assert baseline.machine_changes(baseline.fingerprint(HERE), baseline.fingerprint(HERE)) == []
    assert baseline.machine_changes(baseline.fingerprint(there), baseline.fingerprint(HERE)) == [
        "cpu model was B, is A",
        "cpu quota was 2.0, is unknown",
    ]


def test_the_commit_is_what_ci_says(tmp_path, monkeypatch):
    """GitHub's variable is recorded and shortened in messages."""
    monkeypatch.setenv("GITHUB_SHA", "1a2b3c4d5e6f")
    save(tmp_path / "base", write(tmp_path / "model"))
    found = baseline.load(tmp_path / "base", KEY)

    assert found.commit == "1a2b3c4d5e6f"
    assert found.label == f"the baseline of {found.saved[:10]} (commit 1a2b3c4)"
