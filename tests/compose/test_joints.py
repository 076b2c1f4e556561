"""Two files that follow each other: what one gives is what the next takes, by their own words."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from pytest_onnxprep.artifacts.onnx_model import OnnxModel
from pytest_onnxprep.compose.joints import Joint, check_joints
from pytest_onnxprep.compose.probe import Passage, Walk
from pytest_onnxprep.errors import ContractViolation
from pytest_onnxprep.sources.load import load_source
from pytest_onnxprep.spec.signature import Signature
from pytest_onnxprep.spec.tensor import TensorSpec
from pytest_onnxprep.spec.variant import Variant

FLOAT, DOUBLE = TensorProto.FLOAT, TensorProto.DOUBLE


def part(path, given, taken, kind, shape):
    """A file from ``given`` to ``taken``."""
    values = [helper.make_tensor_value_info(name, kind, shape) for name in (given, taken)]
    graph = helper.make_graph([helper.make_node("Identity", [given], [taken])], "g", values[:1], values[1:])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    signature = Signature({given: TensorSpec("float32", "2, 3")}).with_outputs([taken])
    return OnnxModel(path, signature, load_source(str(path)), Variant("none", 17), {})


def joint(name, given, taken, array):
    """What was seen at it, in the framework."""
    return Joint(name, {given: TensorSpec("float32", "2, 3")}, frozenset(), {given: array}, (), (taken,))


@pytest.fixture
def check(tmp_path):
    """Holds a body that gives ``float[n, 3]`` to a head of another type or shape."""

    def run(kind, shape):
        parts = {
            "body": part(tmp_path / "body.onnx", "x", "features", FLOAT, ["n", 3]),
            "head": part(tmp_path / "head.onnx", "features", "y", kind, shape),
        }
        x, features, y = (np.ones((2, 3), "float32") for _ in range(3))
        walk = Walk()
        walk.passages["body"] = [Passage({}, {"x": x}, {"features": features})]
        walk.passages["head"] = [Passage({}, {"features": features}, {"y": y})]
        joints = {"body": joint("body", "x", "features", x), "head": joint("head", "features", "y", features)}
        check_joints(parts, joints, [walk])

    return run


@pytest.mark.parametrize("shape", [["n", 3], ["batch", "width"], [2, 3], [None, 3]])
def test_names_of_sizes_are_each_file_s_own(check, shape):
    """Only two numbers can contradict each other."""
    check(FLOAT, shape)


@pytest.mark.parametrize(
    ("kind", "shape", "words"),
    [
        (DOUBLE, ["n", 3], "the file gives float32, the next one takes float64"),
        (FLOAT, ["n", 3, 1], r"the file gives 2 axes \['n', 3\], the next one takes \['n', 3, 1\]"),
        (FLOAT, ["n", 4], "axis 1 is 3 in the file that gives it, 4 in the one that takes it"),
    ],
    ids=["dtype", "rank", "size"],
)
def test_files_that_do_not_fit(check, kind, shape, words):
    """The framework may convert on the way; a runtime does not, and is not asked."""
    where = r"two exported stages do not fit together:\n  - body\.features -> head\.features: "
    with pytest.raises(ContractViolation, match=f"{where}{words}"):
        check(kind, shape)


def test_all_that_does_not_fit_is_listed(check):
    """Type and size at once."""
    with pytest.raises(ContractViolation, match=r"(?s)takes float64.*axis 1 is 3"):
        check(DOUBLE, ["n", 4])
