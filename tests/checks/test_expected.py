"""The framework's answers, kept between runs: asked for once, never believed against a live one."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from pytest_onnxprep.artifacts.onnx_model import OnnxModel
from pytest_onnxprep.artifacts.reference_outputs import ReferenceOutputs, describable
from pytest_onnxprep.checks import parity
from pytest_onnxprep.checks.case import Case
from pytest_onnxprep.checks.expected import Expected
from pytest_onnxprep.fuzz.corners import corner_sizes
from pytest_onnxprep.fuzz.example import Maker
from pytest_onnxprep.sources.base import Source
from pytest_onnxprep.sources.source_code import Digest
from pytest_onnxprep.spec.check_requests import read_parity
from pytest_onnxprep.spec.signature import Signature
from pytest_onnxprep.spec.tensor import TensorSpec
from pytest_onnxprep.spec.variant import Variant
from pytest_onnxprep.spec.verdict import Verdict

KEY = "0123456789abcdef"
DOUBLE = Signature({"x": TensorSpec("float32", "batch, 3")})


class Counting(Source):
    """Doubles its input and counts the calls."""

    framework = "numpy"
    label = "a numpy function"

    def __init__(self, factor=2.0, *, compiles=False) -> None:
        self.model = self
        self.factor = factor
        self.shapes = []
        self.compiles_each_size = compiles

    def run(self, feeds, signature):
        """See `Source.run`."""
        self.shapes.append(feeds["x"].shape)
        return {"y": feeds["x"] * np.float32(self.factor)}

    def fingerprint(self):
        """See `Source.fingerprint`."""
        return Digest("0", True)


@pytest.fixture
def check(tmp_path):
    """Run parity of ``y = 2 x`` against a source, with answers kept in a folder of this test."""
    node = helper.make_node("Mul", ["x", "two"], ["y"])
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", 3]) for name in ("x", "y")]
    two = helper.make_tensor("two", TensorProto.FLOAT, [], [2.0])
    graph = helper.make_graph([node], "g", values[:1], values[1:], [two])
    path = tmp_path / "model.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), path)

    def check(source, *, key=KEY, examples=30):
        model = OnnxModel(path, DOUBLE.with_outputs(["y"]), source, Variant("none", 18), {}, key=key)
        case = Case(model, read_parity(atol=1e-6), examples=examples, references=tmp_path / "references")
        return parity.run(case)

    return check


def kept_file(tmp_path):
    """The only file of kept answers."""
    (path,) = (tmp_path / "references").rglob("*.npz")
    return path


def test_a_second_run_asks_for_fewer_answers(check):
    """The corners' answers come from the first run; the repeated and the random ones are live."""
    first, second = Counting(), Counting()

    assert check(first).verdict is check(second).verdict is Verdict.PASS
    assert len(first.shapes) - len(second.shapes) >= len(corner_sizes(DOUBLE)) - 3


def test_another_export_has_answers_of_its_own(check):
    """Nothing is taken from another key."""
    first, second = Counting(), Counting()
    check(first)
    check(second, key=KEY[::-1])

    assert len(second.shapes) == len(first.shapes)


@pytest.mark.parametrize("factor", [2.0, 3.0])
def test_an_answer_counts_once(tmp_path, factor):
    """Of an answer that an earlier run left, the live one takes the place, and its bytes are not counted on top."""
    maker = Maker(DOUBLE)
    examples = [maker.plain({"batch": size}) for size in (1, 2)]
    feeds = [maker.feeds(example) for example in examples]

    def answers(source):
        model = OnnxModel(tmp_path / "no.onnx", DOUBLE, source, Variant("none", 18), {}, key=KEY)
        case = Case(model, read_parity(), references=tmp_path / "references")
        return Expected(case, lambda arrays: source.run(arrays, DOUBLE), "examples", shareable=True)

    first = answers(Counting())
    for example, arrays in zip(examples, feeds, strict=True):
        first.get(example, arrays)
    first.keep(examples)
    source = Counting(factor)
    second = answers(source)
    for example, arrays in zip(examples, feeds, strict=True):
        second.get(example, arrays)
    assert not source.shapes
    second.ask(examples[1], feeds[1])

    held = source.memo["examples"].values()
    assert len(held) == (2 if factor == 2.0 else 1)  # those that the live one contradicts are forgotten
    assert source.memo["bytes"] == sum(answer["y"].nbytes for answer in held)


def test_an_export_without_a_key_keeps_nothing(check, tmp_path):
    """What no other run can find is not written."""
    check(Counting(), key="")

    assert not list((tmp_path / "references").rglob("*"))


def test_a_model_that_changed_unnoticed_fails(check):
    """Kept answers that the live model contradicts count for nothing, even under the same key."""
    assert check(Counting()).verdict is Verdict.PASS

    assert check(Counting(3.0)).verdict is Verdict.FAIL


def test_kept_answers_accuse_nobody(check, tmp_path):
    """Answers altered on disk, the first ones left alone: the live answer is asked for before anything fails."""
    check(Counting())
    path = kept_file(tmp_path)
    with np.load(path) as entries:
        found = {name: entries[name] for name in entries.files}
    names = list(found)
    np.savez(path, **{name: found[name] + (index > 4) for index, name in enumerate(names)})

    assert check(Counting()).verdict is Verdict.PASS


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 damaged", b"\x93NUMPY"])
def test_a_damaged_file_is_no_file(check, tmp_path, content):
    """Whatever lies there, the answers are asked for anew, and written anew."""
    check(Counting())
    path = kept_file(tmp_path)
    path.write_bytes(content)
    source = Counting()

    assert check(source).verdict is Verdict.PASS
    assert len(source.shapes) > len(corner_sizes(DOUBLE))
    assert ReferenceOutputs(path.parent.parent, KEY, "x").load() == {}
    with np.load(path) as entries:
        assert entries.files


def test_only_what_a_file_holds_is_kept():
    """Text and foreign floats are asked for in every run."""
    assert describable({"y": np.zeros(2, "float16"), "z": np.zeros((), "bool")})
    assert not describable({"y": np.array(["a"], object)})


def test_a_folder_that_takes_nothing_costs_nothing_but_time(tmp_path):
    """A file where the folder should be: the answers are not kept, and nobody is told off."""
    (tmp_path / KEY[:2]).write_text("in the way")
    kept = ReferenceOutputs(tmp_path, KEY, "x")
    kept.save({"e": {"y": np.zeros(2)}})

    assert kept.load() == {}


def test_random_examples_keep_to_few_sizes_where_each_is_compiled(check):
    """The corners try the sizes; what is random beside them is the values."""
    free, compiled = Counting(), Counting(compiles=True)
    check(free, examples=90)
    check(compiled, key=KEY[::-1], examples=90)
    corners = {(sizes["batch"], 3) for sizes in corner_sizes(DOUBLE)}

    assert set(compiled.shapes) <= corners | {(1, 3)}
    assert len(set(compiled.shapes[-20:])) <= 5
