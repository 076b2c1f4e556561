"""Damaged and hostile ONNX files: a clear error, without the memory or time they ask for."""

from __future__ import annotations

import itertools
import os
import random
import resource
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from pytest_onnxprep.errors import OnnxPrepError, SourceError
from pytest_onnxprep.sources import onnx_guard
from pytest_onnxprep.sources.load import load_source

FLOAT = TensorProto.FLOAT
value = helper.make_tensor_value_info


def saved(path: Path, nodes: Any = None, inputs: Any = None, initializers: Any = (), functions: Any = ()) -> Path:
    """A small file; `Relu` of ``x`` unless told otherwise."""
    nodes = nodes or [helper.make_node("Relu", ["x"], ["y"])]
    inputs = [value("x", FLOAT, ["n", 3])] if inputs is None else inputs
    graph = helper.make_graph(nodes, "g", inputs, [value("y", FLOAT, None)], list(initializers))
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("mine", 1)]
    proto = helper.make_model(graph, opset_imports=opsets, ir_version=8, functions=list(functions))
    path.write_bytes(proto.SerializeToString())
    return path


def with_weight(path: Path, edit: Callable[[Any], None]) -> Path:
    """A file with a weight of three floats in ``w.bin``, and something wrong with it."""
    (path.parent / "w.bin").write_bytes(np.ones(3, np.float32).tobytes())
    weight = TensorProto(name="w", data_type=FLOAT, dims=[3], data_location=TensorProto.EXTERNAL)
    for key, text in (("location", "w.bin"), ("offset", "0"), ("length", "12")):
        weight.external_data.add(key=key, value=text)
    edit(weight)
    return saved(path, [helper.make_node("Mul", ["x", "w"], ["y"])], initializers=[weight])


def put(key: str, text: str) -> Callable[[Any], None]:
    """Change one entry of a tensor's external data."""

    def edit(tensor: Any) -> None:
        for entry in tensor.external_data:
            if entry.key == key:
                entry.value = text

    return edit


def refusal(path: Path) -> str:
    """The one-line message with which a file is refused."""
    with pytest.raises(SourceError) as caught:
        load_source(str(path)).derived_signature()  # type: ignore[union-attr]
    assert path.name in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "it is empty"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:12\n", "git lfs pull"),
        (b"\x89HDF\r\n\x1a\n" + b"\0" * 99, "it is an HDF5 file, as Keras writes"),
        (b"\x1c\0\0\0TFL3" + b"\0" * 99, "it is a TFLite file"),
        (b"\x80\x02}q\x00.", "it is a pickle"),
        (b"<!DOCTYPE html><html>", "a download that failed"),
        (b"\x08\x08", "it holds no graph"),
        (b"\xff" * 200, "not a readable ONNX file"),
    ],
)
def test_what_is_no_onnx_is_told_by_its_first_bytes(tmp_path: Path, content: bytes, message: str) -> None:
    """A wrong extension is named as what it is."""
    path = tmp_path / "bad.onnx"
    path.write_bytes(content)

    assert message in refusal(path)


def test_an_archive_is_no_onnx(tmp_path: Path) -> None:
    """torch.save and Keras write zip archives."""
    path = tmp_path / "bad.onnx"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("data.pkl", b"x" * 1000)

    assert "it is a zip archive, as torch.save, torch.export.save and Keras write" in refusal(path)


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (put("location", "../../etc/passwd"), "keeps its data outside"),
        (put("location", "/etc/passwd"), "keeps its data outside"),
        (put("location", "gone.bin"), "'gone.bin', which is missing beside the file"),
        (put("location", "folder"), "which is no plain file"),
        (put("location", "a\0b"), "is refused"),
        (put("offset", "99999999999999"), "wants 12 bytes from place 99999999999999 of 'w.bin', which has 12 bytes"),
        (put("offset", "-8"), "from place -8"),
        (put("length", "888888888888"), "wants 889 GB from place 0"),
        (put("length", "4"), r"declares [3], 12 bytes, and has 4 bytes in 'w.bin'"),
        (put("offset", "many"), "in words that are no numbers"),
        (lambda tensor: tensor.dims.__setitem__(0, 2**40), "declares [1099511627776], 4.4 TB, and has 12 bytes"),
        (lambda tensor: tensor.dims.__setitem__(0, -3), "has a negative size: [-3]"),
    ],
)
def test_external_data_that_is_not_there(tmp_path: Path, edit: Callable[[Any], None], message: str) -> None:
    """Wherever the file points, nothing is read or allocated for it."""
    (tmp_path / "folder").mkdir()
    path = with_weight(tmp_path / "bad.onnx", edit)

    assert message in refusal(path)


def test_a_pipe_is_not_read(tmp_path: Path) -> None:
    """Opening it would wait for ever."""
    os.mkfifo(tmp_path / "pipe")

    assert "is no plain file" in refusal(with_weight(tmp_path / "bad.onnx", put("location", "pipe")))


def doubled(times: int) -> list[Any]:
    """A constant that is laid beside itself again and again."""
    names = [f"c{index}" for index in range(times + 1)]
    nodes = [helper.make_node("ConstantOfShape", ["size"], ["c0"])]
    nodes += [helper.make_node("Concat", [a, a], [b], axis=0) for a, b in itertools.pairwise(names)]
    nodes += [helper.make_node("ReduceSum", [names[-1]], ["s"], keepdims=0), helper.make_node("Add", ["x", "s"], ["y"])]
    return nodes


def ints(name: str, *numbers: int) -> Any:
    """An initializer of sizes."""
    return numpy_helper.from_array(np.array(numbers, np.int64), name)


def bomb(name: str, path: Path) -> Path:
    """A file of a few hundred bytes that asks for terabytes."""
    add = helper.make_node("Add", ["x", "z"], ["y"])
    if name == "constant":
        return saved(path, [helper.make_node("ConstantOfShape", ["size"], ["z"]), add], None, [ints("size", 2**42, 3)])
    if name == "expand":
        nodes = [helper.make_node("Expand", ["one", "size"], ["z"]), add]
        return saved(
            path, nodes, None, [numpy_helper.from_array(np.ones(3, np.float32), "one"), ints("size", 2**41, 3)]
        )
    if name == "doubling":
        return saved(path, doubled(40), None, [ints("size", 1024)])
    if name == "input":
        return saved(path, inputs=[value("x", FLOAT, [2**40, 3])])
    weight = TensorProto(name="w", data_type=FLOAT, dims=[2**40])
    weight.raw_data = b"\0" * 12
    return saved(path, [helper.make_node("Mul", ["x", "w"], ["y"])], None, [weight])


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("constant", "tensor 'z' would take 52.8 TB"),
        ("expand", "tensor 'z' would take 26.4 TB"),
        ("doubling", "would take"),
        ("input", "tensor 'x' would take 13.2 TB"),
        ("weight", "tensor 'w' declares [1099511627776], 4.4 TB, and holds 12 bytes"),
    ],
)
def test_absurd_sizes_are_refused_before_they_are_allocated(tmp_path: Path, name: str, message: str) -> None:
    """The process grows by no more than a little."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    assert message in refusal(bomb(name, tmp_path / "bomb.onnx"))
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 500_000


def calls(name: str, *called: str) -> Any:
    """A function that calls others one after the other."""
    names = [f"t{index}" for index in range(len(called) + 1)]
    nodes = [
        helper.make_node(other, [a], [b], domain="" if other == "Relu" else "mine")
        for other, a, b in zip(called, names, names[1:], strict=False)
    ]
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("mine", 1)]
    return helper.make_function("mine", name, [names[0]], [names[-1]], nodes, opsets)


def test_functions_that_multiply_are_refused(tmp_path: Path) -> None:
    """Forty functions, each of which calls the one before twice."""
    functions = [calls("f0", "Relu"), *(calls(f"f{index}", *[f"f{index - 1}"] * 2) for index in range(1, 41))]
    path = saved(tmp_path / "laughs.onnx", [helper.make_node("f40", ["x"], ["y"], domain="mine")], None, (), functions)

    assert "its functions come to 1.1e+12 nodes when they are written out" in refusal(path)


def test_functions_that_come_to_many_nodes_are_refused_where_the_file_holds_few(tmp_path: Path) -> None:
    """ONNX Runtime takes time by the square of their number; a file that holds as many is simply large."""
    functions = [calls("f0", "Relu"), *(calls(f"f{index}", *[f"f{index - 1}"] * 2) for index in range(1, 16))]
    path = saved(tmp_path / "many.onnx", [helper.make_node("f15", ["x"], ["y"], domain="mine")], None, (), functions)

    assert "its functions come to 3.3e+04 nodes" in refusal(path)


def test_a_function_that_calls_itself_is_refused(tmp_path: Path) -> None:
    """Also by way of another."""
    functions = [calls("f", "g"), calls("g", "f")]
    path = saved(tmp_path / "cycle.onnx", [helper.make_node("f", ["x"], ["y"], domain="mine")], None, (), functions)

    assert "calls itself" in refusal(path)


def field(number: int, content: bytes) -> bytes:
    """A protobuf field that holds a message or text."""
    length, rest = bytearray(), len(content)
    while rest > 127:
        length.append(rest & 127 | 128)
        rest >>= 7
    return bytes((number << 3 | 2, *length, rest)) + content


def test_deep_nesting_is_refused(tmp_path: Path) -> None:
    """A branch in a branch in a branch, a thousand times: protobuf itself draws the line."""
    graph = field(2, b"g")
    for _ in range(1000):
        graph = field(1, field(4, b"If") + field(5, field(1, b"then_branch") + field(6, graph)))
    path = tmp_path / "deep.onnx"
    path.write_bytes(b"\x08\x08" + field(7, graph))

    assert "not a readable ONNX file" in refusal(path)


def test_a_file_beyond_protobuf_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is not read at all."""
    monkeypatch.setattr(onnx_guard, "MOST_FILE_BYTES", 10)

    assert "one protobuf holds at most 2 GB" in refusal(saved(tmp_path / "big.onnx"))


def test_names_that_are_no_text_are_refused(tmp_path: Path) -> None:
    """A flipped bit in a name is damage like any other."""
    for path in (
        saved(tmp_path / "name.onnx", [helper.make_node("Relu", ["x"], ["y"], name="QQQQ")]),
        saved(tmp_path / "dim.onnx", inputs=[value("x", FLOAT, ["QQQQ", 3])]),
        with_weight(tmp_path / "data.onnx", put("location", "QQQQ")),
    ):
        path.write_bytes(path.read_bytes().replace(b"QQQQ", b"\xff\xfe\xfd\xfc"))

        assert "no UTF-8 text" in refusal(path)


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ([2**28, 2], "its inputs would take 2.15 GB together"),
        (["n"] + [1] * 70, "input 'x' has 71 axes; NumPy has at most 64"),
        (["(" * 5000 + "a" + ")" * 5000, 3], "a dim of input 'x' has a name of more than 500 characters"),
    ],
)
def test_inputs_that_no_check_can_make_are_refused(tmp_path: Path, shape: list[Any], message: str) -> None:
    """Below what a tensor may take, but a check holds several of each."""
    assert message in refusal(saved(tmp_path / "bad.onnx", inputs=[value("x", FLOAT, shape)]))


def test_a_dim_that_nests_too_deeply_for_its_parser_has_no_name(tmp_path: Path) -> None:
    """As any text that is no expression."""
    path = saved(tmp_path / "deep.onnx", inputs=[value("x", FLOAT, ["(" * 245 + "a" + ")" * 245, 3])])

    found = load_source(str(path)).derived_signature()
    assert found is not None
    assert str(found.inputs["x"]) in ("float32[x_dim0, 3]", "float32[a, 3]")


EVIL = "a\x1b[2J\nFAILED other::test"


@pytest.mark.parametrize(
    "make",
    [
        lambda path: saved(path, [helper.make_node("Relu", ["x"], ["y"], name=EVIL)]),
        lambda path: saved(path, [helper.make_node("Relu", [EVIL], ["y"])], [value(EVIL, FLOAT, ["n"])]),
        lambda path: saved(path, inputs=[value("x", FLOAT, [EVIL, 3])]),
        lambda path: saved(path, [helper.make_node(EVIL, ["x"], ["y"])]),
        lambda path: saved(path, [helper.make_node("f", ["x"], ["y"], domain=EVIL)]),
        lambda path: saved(path, functions=[calls(EVIL, "Relu")]),
    ],
)
def test_names_with_control_characters_are_refused(tmp_path: Path, make: Callable[[Path], Path]) -> None:
    """They would clear the terminal, or add a line to the report; the message shows them escaped."""
    said = refusal(make(tmp_path / "bad.onnx"))

    assert "holds control characters" in said
    assert "\x1b" not in said
    assert "\n" not in said


def test_metadata_may_have_lines(tmp_path: Path) -> None:
    """PyTorch writes its stack traces there."""
    path = saved(tmp_path / "good.onnx")
    proto = onnx.load(path)
    proto.metadata_props.add(key="trace", value="line 1\nline 2")
    onnx.save(proto, path)

    assert load_source(str(path)).derived_signature() is not None


@pytest.mark.parametrize("damage", ["flip", "cut"])
def test_no_damage_gives_anything_but_a_clear_error(tmp_path: Path, damage: str) -> None:
    """Bits flipped and ends cut off anywhere: a clear error, or a file that is still sound."""
    good = with_weight(tmp_path / "good.onnx", lambda tensor: None).read_bytes()
    path = tmp_path / "bad.onnx"
    for seed in range(150):
        chance = random.Random(seed)
        data = bytearray(good)
        for _ in range(chance.choice((1, 1, 4))):
            data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
        path.write_bytes(data if damage == "flip" else good[: chance.randrange(len(good))])
        try:
            load_source(str(path)).derived_signature()
        except OnnxPrepError as error:
            assert str(error)  # noqa: PT017 - either is fine
    assert sorted(file.name for file in tmp_path.iterdir()) == ["bad.onnx", "good.onnx", "w.bin"]


def test_a_sound_file_passes(tmp_path: Path) -> None:
    """With external data, with a function, with a large weight of its own."""
    load_source(str(with_weight(tmp_path / "a.onnx", lambda tensor: None))).derived_signature()
    big = numpy_helper.from_array(np.ones((3, 3000), np.float32), "w")
    nodes = [helper.make_node("MatMul", ["x", "w"], ["t"]), helper.make_node("f", ["t"], ["y"], domain="mine")]
    path = saved(tmp_path / "b.onnx", nodes, None, [big], [calls("f", "Relu")])

    assert str(load_source(str(path)).derived_signature().inputs["x"]) == "float32[n, 3]"  # type: ignore[union-attr]
