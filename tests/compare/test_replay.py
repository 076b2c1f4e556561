"""The replay folder, by itself."""

from __future__ import annotations

import json
import subprocess
import sys

import ml_dtypes
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from pytest_onnxprep.compare.outputs import Rule
from pytest_onnxprep.compare.replay import load_feeds, write_replay
from pytest_onnxprep.spec.tolerance import Tolerance

TYPES = {
    "float32": TensorProto.FLOAT,
    "int64": TensorProto.INT64,
    "bool": TensorProto.BOOL,
    "string": TensorProto.STRING,
    "bfloat16": TensorProto.BFLOAT16,
}


def identity(path, kind="float32", name="x", out="y"):
    """A file that returns its input."""
    value = [
        helper.make_tensor_value_info(one, TYPES[kind], [None] * (2 if kind == "bfloat16" else 1))
        for one in (name, out)
    ]
    graph = helper.make_graph([helper.make_node("Identity", [name], [out])], "g", value[:1], value[1:])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), str(path))
    return path


def replay(folder):
    """Run the script."""
    return subprocess.run([sys.executable, str(folder / "replay.py")], capture_output=True, text=True, check=False)


def write(tmp_path, feeds, expected, rule=None, **options):
    """Write a replay of an identity."""
    path = identity(tmp_path / "net.onnx", **options)
    return write_replay(
        tmp_path / "replay", title="a title", files=[path], feeds=feeds, expected=expected, rule=rule or Rule()
    )


VALUES = {
    "float32": (np.float32([1, 2]), np.float32([1, 2.5])),
    "int64": (np.array([1, 2]), np.array([1, 3])),
    "bool": (np.array([True, False]), np.array([True, True])),
    "string": (np.array(["a", "grüße"], object), np.array(["a", "b"], object)),
    "bfloat16": (
        np.array([[1.5, -2, np.inf]], ml_dtypes.bfloat16),
        np.array([[1.5, -2.5, np.inf]], ml_dtypes.bfloat16),
    ),
}


@pytest.mark.parametrize("kind", VALUES)
def test_a_difference_is_shown(tmp_path, kind):
    """Whatever the dtype, the script says DIFFERS and exits with 1."""
    fed, wanted = VALUES[kind]
    ran = replay(write(tmp_path, {"x": fed}, {"y": wanted}, kind=kind))

    assert (ran.returncode, "DIFFERS" in ran.stdout) == (1, True), ran.stderr


@pytest.mark.parametrize("kind", VALUES)
def test_agreement_is_calm(tmp_path, kind):
    """Equal outputs exit with 0."""
    fed, _ = VALUES[kind]
    ran = replay(write(tmp_path, {"x": fed}, {"y": fed}, kind=kind))

    assert (ran.returncode, ran.stderr) == (0, "")


@pytest.mark.parametrize(("atol", "code"), [(0.6, 0), (0.4, 1)])
def test_the_tolerance_of_the_check_is_the_replays(tmp_path, atol, code):
    """The script judges by the rule that failed."""
    rule = Rule(Tolerance(9), {"y": Tolerance(atol)})
    folder = write(tmp_path, {"x": np.float32([1, 2])}, {"y": np.float32([1, 2.5])}, rule)

    assert replay(folder).returncode == code


def test_another_dtype_is_no_agreement(tmp_path):
    """Equal numbers of another width are told as what they are."""
    ran = replay(write(tmp_path, {"x": np.float32([1])}, {"y": np.float64([1])}))

    assert ran.returncode == 1
    assert "float64" in ran.stdout


def test_nan_agrees_with_nan_only(tmp_path):
    """The script knows the rule for NaN."""
    folder = write(tmp_path, {"x": np.float32([np.nan, 1])}, {"y": np.float32([np.nan, np.nan])})

    assert replay(folder).returncode == 1


def test_tensor_names_no_file_could_have(tmp_path):
    """Names with slashes and colons survive."""
    folder = write(tmp_path, {"a/b:0": np.float32([1])}, {"c/d:0": np.float32([1])}, name="a/b:0", out="c/d:0")

    assert replay(folder).returncode == 0
    assert list(load_feeds(folder / "feeds.npz")) == ["a/b:0"]


def test_feeds_come_back_as_they_were(tmp_path):
    """load_feeds reads what was written, dtype and all."""
    fed = np.float32([[1.5, np.inf]])
    folder = write(tmp_path, {"x": fed}, {"y": fed})

    np.testing.assert_array_equal(load_feeds(folder / "feeds.npz")["x"], fed)
    assert load_feeds(folder / "feeds.npz")["x"].dtype == np.float32


def test_feeds_of_the_users_own(tmp_path):
    """A plain .npz keeps its own names."""
    np.savez(tmp_path / "mine.npz", x=np.ones(3))

    assert list(load_feeds(tmp_path / "mine.npz")) == ["x"]


def test_an_older_replay_is_replaced(tmp_path):
    """Nothing of the first replay is left, and no half-written folder."""
    folder = write(tmp_path, {"x": np.float32([1])}, {"y": np.float32([1])})
    (folder / "stale").write_text("")
    write(tmp_path, {"x": np.float32([2])}, {"y": np.float32([3])})

    assert not (folder / "stale").exists()
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".replay")] == []
    assert load_feeds(folder / "feeds.npz")["x"].tolist() == [2]


@pytest.mark.parametrize("title", ['with """ quotes', "with {braces}", "with \\ backslash \\u12", "two\nlines"])
def test_any_title_makes_a_script(tmp_path, title):
    """Node ids hold whatever their parameters hold."""
    path = identity(tmp_path / "net.onnx")
    one = {"x": np.float32([1])}
    folder = write_replay(tmp_path / "r", title=title, files=[path], feeds=one, expected={"y": one["x"]}, rule=Rule())

    assert replay(folder).returncode == 0, replay(folder).stderr


def test_the_case_is_json(tmp_path):
    """case.json holds names and resolved tolerances."""
    folder = write(tmp_path, {"x": np.float32([1])}, {"y": np.float32([1])}, Rule(Tolerance(0.25, 0.5)))
    case = json.loads((folder / "case.json").read_text())

    assert case["tolerance"] == {"y": [0.25, 0.5]}


@pytest.mark.parametrize("text", ["[" * 100_000, "[]", '{"names": 3}', '{"names": {"feeds.npz": []}}'])
def test_a_damaged_case_is_told_apart_from_the_feeds(tmp_path, text):
    """The file that is wrong is named."""
    np.savez(tmp_path / "feeds.npz", x=np.ones(2))
    (tmp_path / "case.json").write_text(text)

    with pytest.raises(ValueError, match=r"case\.json"):
        load_feeds(tmp_path / "feeds.npz")
