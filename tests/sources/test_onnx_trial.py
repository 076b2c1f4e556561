"""What no look at an ONNX file tells: it is loaded and run in a child process first, with little time and memory."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from pytest_onnxprep.errors import OnnxPrepError, SourceError
from pytest_onnxprep.exporters.largest import try_at_largest
from pytest_onnxprep.exporters.workshop import trace_run
from pytest_onnxprep.sources import onnx_trial, trial
from pytest_onnxprep.sources.load import load_source
from pytest_onnxprep.sources.onnx_file import OnnxFileSource, try_out
from pytest_onnxprep.spec.dims import Dim

FLOAT = TensorProto.FLOAT
value = helper.make_tensor_value_info
node = helper.make_node
FEEDS = {"x": np.ones((2, 3), np.float32)}
#: What a loop of a few seconds takes; were the guard to fail, the test would end all the same.
TURNS = 8_000_000


@pytest.fixture(autouse=True)
def small_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two seconds and 300 MB, and nothing remembered."""
    monkeypatch.setattr(trial, "SECONDS", 2.0)
    monkeypatch.setattr(trial, "MEMORY_BYTES", 300 << 20)
    monkeypatch.setattr(onnx_trial, "_known", {})


def saved(path: Path, nodes: Any, initializers: Any = ()) -> Path:
    """A file from ``x`` to ``y``."""
    graph = helper.make_graph(nodes, "g", [value("x", FLOAT, ["n", 3])], [value("y", FLOAT, ["n", 3])], initializers)
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)
    path.write_bytes(proto.SerializeToString())
    return path


def spin(path: Path, *, on_input: bool = False) -> Path:
    """A loop of so many turns; only where ``x`` is not zero, if asked for."""
    body = helper.make_graph(
        [node("Identity", ["c"], ["d"]), node("Add", ["v", "v"], ["w"])],
        "body",
        [value("i", TensorProto.INT64, []), value("c", TensorProto.BOOL, []), value("v", FLOAT, [1])],
        [value("d", TensorProto.BOOL, []), value("w", FLOAT, [1])],
    )
    given = [
        numpy_helper.from_array(np.array(True), "yes"),
        numpy_helper.from_array(np.zeros(1, np.float32), "zero"),
        numpy_helper.from_array(np.array(TURNS, np.float32 if on_input else np.int64), "most"),
    ]
    count = "most"
    before = []
    if on_input:
        before = [
            node("ReduceMax", ["x"], ["r"], keepdims=0),
            node("Mul", ["r", "most"], ["m"]),
            node("Cast", ["m"], ["turns"], to=TensorProto.INT64),
        ]
        count = "turns"
    nodes = [*before, node("Loop", [count, "yes", "zero"], ["v"], body=body), node("Add", ["x", "v"], ["y"])]
    return saved(path, nodes, given)


def hungry(path: Path) -> Path:
    """Four hundred megabytes, whose size is computed from two constants."""
    ints = [numpy_helper.from_array(np.array([size], np.int64), name) for name, size in (("a", 100), ("b", 1_000_000))]
    one = helper.make_tensor("one", FLOAT, [1], [1.0])
    nodes = [
        node("Mul", ["a", "b"], ["size"]),
        node("ConstantOfShape", ["size"], ["z"], value=one),
        node("ReduceSum", ["z"], ["s"], keepdims=0),
        node("Add", ["x", "s"], ["y"]),
    ]
    return saved(path, nodes, ints)


def texts(path: Path) -> Path:
    """Half a gigabyte of text, from eight letters doubled again and again."""
    nodes = [node("StringConcat", [f"s{index}", f"s{index}"], [f"s{index + 1}"]) for index in range(25)]
    nodes += [node("Equal", ["s25", "s0"], ["e"]), node("Cast", ["e"], ["f"], to=FLOAT), node("Add", ["x", "f"], ["y"])]
    return saved(path, nodes, [helper.make_tensor("s0", TensorProto.STRING, [1], [b"abcdefgh"])])


def relu(path: Path) -> Path:
    """Nothing wrong with it."""
    return saved(path, [node("Relu", ["x"], ["y"])])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (spin, "it did not come to an end within 2 s"),
        (lambda path: spin(path, on_input=True), "it did not come to an end within 2 s"),
        (hungry, "of memory"),
        (texts, "of memory"),
    ],
)
def test_a_source_that_eats_memory_or_never_ends_is_not_run_here(tmp_path: Path, make: Any, message: str) -> None:
    """Neither by the export, nor by a pipeline that asks it for an answer."""
    source = load_source(str(make(tmp_path / "bad.onnx")))
    signature = source.derived_signature()
    assert signature is not None

    with pytest.raises(SourceError, match=message) as caught:
        trace_run(source, signature, FEEDS)
    with pytest.raises(SourceError, match=message):
        source.run(FEEDS, signature)
    assert str(caught.value).startswith("bad.onnx (ONNX file) is not run here, as in a process of its own it ")


@pytest.mark.parametrize(("make", "message"), [(spin, "within 2 s"), (hungry, "of memory")])
def test_neither_is_an_artifact(tmp_path: Path, make: Any, message: str) -> None:
    """Whatever its inputs are called."""
    with pytest.raises(SourceError, match=message) as caught:
        try_out(make(tmp_path / "bad.onnx"), FEEDS, ())
    assert "bad.onnx' is not loaded here" in str(caught.value)


def test_what_onnx_runtime_refuses_is_left_to_it(tmp_path: Path) -> None:
    """In its own words, of which a child has no better ones."""
    source = load_source(str(saved(tmp_path / "odd.onnx", [node("Nothing", ["x"], ["y"])])))

    with pytest.raises(SourceError, match=r"cannot be loaded by ONNX Runtime.*Nothing"):
        source.derived_signature()


def test_a_sound_file_is_tried_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever loads it again, as long as it is the same."""
    path = relu(tmp_path / "relu.onnx")
    asked = []
    real = onnx_trial.failure_of_run
    monkeypatch.setattr(
        onnx_trial, "failure_of_run", lambda *given, **limits: asked.append(0) or real(*given, **limits)
    )

    for _ in range(2):
        source = OnnxFileSource(path)
        outputs = source.run(FEEDS, source.derived_signature())
        assert outputs["y"].tolist() == FEEDS["x"].tolist()
    assert len(asked) == 1
    saved(path, [node("Neg", ["x"], ["y"])])
    OnnxFileSource(path).run(FEEDS, source.derived_signature())
    assert len(asked) == 2


def test_a_library_that_is_cut_off_is_not_loaded_here(tmp_path: Path) -> None:
    """The loader reads beyond its end, which is no error that Python sees but the end of the process."""
    whole = Path(onnxruntime.__file__).parent / "capi" / "libonnxruntime_providers_shared.so"
    library = tmp_path / "cut.so"
    library.write_bytes(whole.read_bytes()[:4096])
    source = load_source(str(relu(tmp_path / "relu.onnx")))
    source.equip([str(library)])

    with pytest.raises(OnnxPrepError, match="crashes") as caught:
        source.derived_signature()
    assert "cut.so' is not loaded here" in str(caught.value)
    assert "build or install the library anew" in str(caught.value)


def test_a_library_that_is_none_is_told_by_onnx_runtime(tmp_path: Path) -> None:
    """It says what is wrong with it, and no process ends."""
    library = tmp_path / "text.so"
    library.write_text("hello")
    source = load_source(str(relu(tmp_path / "relu.onnx")))
    source.equip([str(library)])

    with pytest.raises(OnnxPrepError, match="ONNX Runtime does not take"):
        source.derived_signature()


def growing(path: Path) -> Path:
    """Four hundred megabytes for every four of ``n`` beyond the fourth."""
    ints = {"first": [0], "four": [4], "none": [0], "more": [25_000_000]}
    one = helper.make_tensor("one", FLOAT, [1], [1.0])
    nodes = [
        node("Shape", ["x"], ["shape"]),
        node("Gather", ["shape", "first"], ["n"]),
        node("Sub", ["n", "four"], ["beyond"]),
        node("Max", ["beyond", "none"], ["m"]),
        node("Mul", ["m", "more"], ["size"]),
        node("ConstantOfShape", ["size"], ["z"], value=one),
        node("ReduceSum", ["z"], ["s"], keepdims=0),
        node("Add", ["x", "s"], ["y"]),
    ]
    return saved(
        path, nodes, [numpy_helper.from_array(np.array(sizes, np.int64), name) for name, sizes in ints.items()]
    )


def test_a_file_that_grows_beyond_measure_is_told_before_its_largest_sizes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At the example nothing is wrong with it; the message says at which sizes, and what to change."""
    monkeypatch.setattr(trial, "MEMORY_BYTES", 100 << 20)
    path = growing(tmp_path / "growing.onnx")
    signature = OnnxFileSource(path).derived_signature()

    trace_run(OnnxFileSource(path), signature, FEEDS)
    with pytest.raises(SourceError, match=r"of memory; give smaller ranges in dims= \(at n=8\)"):
        try_at_largest(path, signature, ())
    try_at_largest(path, replace(signature, dims={"n": Dim(1, 4)}), ())


def test_inputs_beyond_measure_are_not_made(tmp_path: Path) -> None:
    """Whoever declares that much of a file made elsewhere is told so at once."""
    path = relu(tmp_path / "relu.onnx")
    signature = replace(OnnxFileSource(path).derived_signature(), dims={"n": Dim(1, 2**30)})

    with pytest.raises(
        SourceError, match=r"its inputs would take 12.9 GB together; give smaller ranges in dims= \(at n="
    ):
        try_at_largest(path, signature, ())
