"""Conversion bugs planted in real exported graphs are found and explained; edits that change nothing pass."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

ARTIFACT_MODELS = '''
import torch
from torch import nn

class Mixed(nn.Module):
    """Two outputs of one shape, a norm, a residual add, a concat and a reshape."""
    def __init__(self):
        super().__init__()
        self.first = nn.Linear(4, 4)
        self.second = nn.Linear(4, 4)
        self.norm = nn.LayerNorm(4)
    def forward(self, x):
        a = torch.relu(self.first(x))
        b = self.norm(self.second(x) + x)
        c = torch.cat([a, b], 1).reshape(-1, 2, 4)
        return torch.softmax(c, -1), torch.tanh(a) * b

def build_mixed():
    torch.manual_seed(0)
    return Mixed().eval()
'''

TEST = """
from mixed import build_mixed

@onnx_export(build_mixed, inputs=X, outputs=["probs", "score"], artifact="edited.onnx"{more})
@parity({parity})
def test_x(onnx_model):
    pass
"""


@pytest.fixture(scope="module")
def exported(tmp_path_factory) -> onnx.ModelProto:
    """The honest file, made by torch's own exporter and by nothing of ours."""
    path = tmp_path_factory.mktemp("exported") / "model.onnx"
    namespace: dict[str, object] = {}
    exec(ARTIFACT_MODELS, namespace)
    torch.onnx.export(
        namespace["build_mixed"](),
        (torch.ones(3, 4),),
        str(path),
        dynamo=False,
        input_names=["x"],
        output_names=["probs", "score"],
        dynamic_axes={"x": {0: "batch"}},
        opset_version=17,
    )
    return onnx.load(str(path))


@pytest.fixture
def hold(story, exported):
    """Edit a copy of the honest file and hold it to its source."""

    def run(edit, more="", parity="", *args):
        proto = onnx.ModelProto()
        proto.CopyFrom(exported)
        edit(proto)
        onnx.checker.check_model(proto)
        onnx.save(proto, str(story.path / "edited.onnx"))
        story.pytester.makepyfile(mixed=ARTIFACT_MODELS)
        return story(TEST.format(more=more, parity=parity), *args)

    return run


def node(proto, op_type, nth=0):
    """The nth node of a type."""
    return [one for one in proto.graph.node if one.op_type == op_type][nth]


def attribute(one, name):
    """An attribute of a node."""
    return next(found for found in one.attribute if found.name == name)


def weight(proto, suffix):
    """An initializer by the end of its name."""
    return next(tensor for tensor in proto.graph.initializer if tensor.name.endswith(suffix))


# the bugs -------------------------------------------------------------------------------------------------------------


def edited_weight(proto):
    """One element of one bias."""
    tensor = weight(proto, "second.bias")
    values = numpy_helper.to_array(tensor).copy()
    values[2] += 0.01
    tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))


def softmax_axis(proto):
    """Over the rows instead of the classes."""
    attribute(node(proto, "Softmax"), "axis").i = 1


def concat_order(proto):
    """The two halves change places."""
    inputs = node(proto, "Concat").input
    inputs[0], inputs[1] = inputs[1], inputs[0]


def add_is_sub(proto):
    """The residual is subtracted."""
    add = next(one for one in proto.graph.node if one.op_type == "Add" and "x" in one.input)
    add.op_type = "Sub"


def epsilon(proto):
    """A norm's epsilon of 1e-5 becomes 1e-2."""
    attribute(node(proto, "LayerNormalization"), "epsilon").f = 1e-2


def no_relu(proto):
    """The activation is gone."""
    node(proto, "Relu").op_type = "Identity"


def swapped_outputs(proto):
    """Each output carries the other's values; names, order and dtypes are as declared."""
    flip = {"probs": "score", "score": "probs"}
    for one in proto.graph.node:
        one.output[:] = [flip.get(name, name) for name in one.output]
    for value, rank in zip(proto.graph.output, (2, 3), strict=True):
        dims = [helper.make_tensor_value_info("x", 1, [f"{value.name}_{axis}" for axis in range(rank)])]
        value.type.CopyFrom(dims[0].type)
    del proto.graph.value_info[:]


def one_in_eight_rows(proto):
    """The score is doubled from the fifth row on: only a batch of five or more shows it."""
    graph = proto.graph
    node(proto, "Mul").output[0] = "honest"
    graph.initializer.extend(
        numpy_helper.from_array(np.array(value, np.int64), name)
        for name, value in [("from", [4]), ("to", [1 << 30]), ("zero", [0])]
    )
    graph.node.extend(
        [
            helper.make_node("Slice", ["honest", "zero", "from", "zero"], ["head"]),
            helper.make_node("Slice", ["honest", "from", "to", "zero"], ["tail"]),
            helper.make_node("Add", ["tail", "tail"], ["doubled"]),
            helper.make_node("Concat", ["head", "doubled"], ["score"], axis=0),
        ]
    )


VALUE_BUGS = [
    (edited_weight, "probs|score"),
    (softmax_axis, "probs"),
    (concat_order, "probs"),
    (add_is_sub, "probs|score"),
    (epsilon, "probs|score"),
    (no_relu, "probs|score"),
    (one_in_eight_rows, "score"),
]


@pytest.mark.parametrize(("bug", "outputs"), VALUE_BUGS, ids=lambda value: getattr(value, "__name__", ""))
def test_a_wrong_value_fails_parity(hold, bug, outputs):
    """The verdict is fail, the export itself is good, and the figures hold what a person needs."""
    outcome = hold(bug)
    figures = outcome.one("parity")["figures"]

    assert (outcome.verdict("export"), outcome.verdict("parity")) == ("pass", "fail")
    assert figures["worst_output"] in outputs.split("|")
    assert figures["max_abs"] > figures["atol"]
    assert figures["expected"] != figures["actual"]
    assert abs(figures["expected"] - figures["actual"]) <= figures["max_abs"] * (1 + 1e-6)
    assert figures["tightest"]["atol"] > figures["atol"]
    assert set(figures["minimal"]) >= {"dims", "seed"}
    assert (Path(figures["replay"]) / "replay.py").is_file()


@pytest.mark.parametrize(("bug", "outputs"), VALUE_BUGS, ids=lambda value: getattr(value, "__name__", ""))
def test_it_is_found_without_tolerances_and_with_tight_ones(hold, bug, outputs):
    """Numbers of the user's do not hide it."""
    assert hold(bug, parity="atol=1e-4, rtol=1e-3").verdict("parity") == "fail"


def test_the_message_tells_the_whole_story(hold):
    """Which output, the smallest size, the index, both values, the largest error, what would pass, and the replay."""
    outcome = hold(one_in_eight_rows)
    figures = outcome.one("parity")["figures"]
    text = outcome.text

    assert figures["minimal"]["dims"] == {"batch": 5}
    assert figures["index"][0] == 4
    assert "'score'" in outcome.one("parity")["summary"]
    assert "batch=5" in outcome.one("parity")["summary"]
    for needed in (
        f"index {figures['index']}",
        f"{figures['expected']:.9g}",
        f"{figures['actual']:.9g}",
        f"{figures['max_abs']:.6g}",
        "would pass with",
        "replay.py",
        "samples=",
    ):
        assert needed in text
    assert "Traceback" not in text


def test_the_tolerance_it_names_does_pass(hold):
    """The tightest atol of the report is enough, and slightly less is not."""

    def offset(proto):
        node(proto, "Mul").output[0] = "honest"
        proto.graph.initializer.append(numpy_helper.from_array(np.float32(0.25), "offset"))
        proto.graph.node.append(helper.make_node("Add", ["honest", "offset"], ["score"]))

    needed = hold(offset, parity="atol=1e-6").one("parity")["figures"]["tightest"]["atol"]

    assert needed == pytest.approx(0.25, rel=1e-5)
    assert hold(offset, parity=f"atol={needed * 1.001!r}").verdict("parity") == "pass"
    assert hold(offset, parity=f"atol={needed * 0.99!r}").verdict("parity") == "fail"


def test_swapped_outputs_fail(hold):
    """Outputs that carry each other's values are found by shape or by value."""
    outcome = hold(swapped_outputs)

    assert outcome.verdict("parity") == "fail"
    assert "probs" in outcome.one("parity")["summary"] or "score" in outcome.one("parity")["summary"]


def test_reordered_outputs_break_the_contract(hold):
    """The declared outputs in another order are a breach, told as one."""

    def reorder(proto):
        outputs = [*proto.graph.output]
        del proto.graph.output[:]
        proto.graph.output.extend(reversed(outputs))

    outcome = hold(reorder)

    assert outcome.verdict("export") == "fail"
    assert "another order" in outcome.one("export")["summary"]


def test_a_baked_batch_fails_at_another_batch(hold):
    """A Reshape that kept the traced batch works for that batch only."""

    def bake(proto):
        (reshape,) = [one for one in proto.graph.node if one.op_type == "Reshape"]
        proto.graph.initializer.append(numpy_helper.from_array(np.array([3, 2, 4], np.int64), "baked"))
        reshape.input[1] = "baked"
        del proto.graph.value_info[:]

    outcome = hold(bake)
    record = outcome.one("parity")

    assert record["verdict"] == "fail"
    assert record["figures"]["minimal"]["dims"] != {"batch": 3}
    assert "ONNX Runtime refuses" in record["summary"]


def test_a_frozen_dim_breaks_the_contract(hold):
    """A dim declared dynamic must be symbolic in the file."""

    def freeze(proto):
        dim = proto.graph.input[0].type.tensor_type.shape.dim[0]
        dim.Clear()
        dim.dim_value = 3

    outcome = hold(freeze)

    assert outcome.verdict("export") == "fail"
    assert "'x' axis 0 (batch) was declared dynamic, the file has it fixed at 3" in outcome.text
    assert outcome.verdict("parity") == "fail"
    assert "not judged" in outcome.one("parity")["summary"]


def test_another_opset_than_asked_for_breaks_the_contract(hold):
    """A file at opset 17 is not what opset=18 asked for."""
    outcome = hold(lambda proto: None, more=", opset=18")

    assert outcome.verdict("export") == "fail"
    assert "opset 18 was asked for, the file is at opset 17" in outcome.text


def widen(proto):
    """The score is computed in float32 and returned as float64."""
    node(proto, "Mul").output[0] = "narrow"
    proto.graph.node.append(helper.make_node("Cast", ["narrow"], ["score"], to=TensorProto.DOUBLE))
    proto.graph.output[1].type.tensor_type.elem_type = TensorProto.DOUBLE


def test_another_dtype_than_the_framework_fails(hold):
    """Equal numbers of another dtype are no parity."""
    outcome = hold(widen)

    assert outcome.verdict("parity") == "fail"
    assert "'score' dtype is float64, the framework's is float32" in outcome.text


def test_another_dtype_than_declared_breaks_the_contract(hold, story):
    """A declared output dtype is part of the contract."""
    hold(widen)
    declared = TEST.replace('["probs", "score"]', '{{"probs": "float32[n, 2, 4]", "score": "float32[n, 4]"}}')
    outcome = story(declared.format(more="", parity=""))

    assert outcome.verdict("export") == "fail"
    assert "output 'score' is float64, declared float32" in outcome.text


def test_a_foreign_domain_is_refused(hold):
    """An operator outside ONNX's own domains is named when domains are declared."""

    def fuse(proto):
        one = node(proto, "Tanh")
        one.op_type, one.domain = "FastGelu", "com.microsoft"
        proto.opset_import.append(helper.make_opsetid("com.microsoft", 1))

    assert "com.microsoft.FastGelu" in hold(fuse, more=", options={'domains': ['my.domain']}").text


# their harmless twins -------------------------------------------------------------------------------------------------


def nothing(proto):
    """The honest file."""


def renamed_nodes(proto):
    """Names of nodes mean nothing."""
    for index, one in enumerate(proto.graph.node):
        one.name = f"n{index}"


def commuted_add(proto):
    """The sum does not depend on the order."""
    add = next(one for one in proto.graph.node if one.op_type == "Add" and "x" in one.input)
    add.input[0], add.input[1] = add.input[1], add.input[0]


def inserted_identity(proto):
    """An Identity before an output."""
    node(proto, "Mul").output[0] = "before"
    proto.graph.node.append(helper.make_node("Identity", ["before"], ["score"]))


def softmax_axis_from_the_front(proto):
    """-1 and 2 are the same axis of three."""
    attribute(node(proto, "Softmax"), "axis").i = 2


def nudged_weight(proto):
    """One unit in the last place."""
    tensor = weight(proto, "second.bias")
    values = numpy_helper.to_array(tensor).copy()
    values[2] = np.nextafter(values[2], np.float32(9))
    tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))


def renamed_dim(proto):
    """A dynamic dim may be called anything."""
    for value in [*proto.graph.input, *proto.graph.output]:
        for dim in value.type.tensor_type.shape.dim:
            if dim.dim_param == "batch":
                dim.dim_param = "N"


TWINS = [
    nothing,
    renamed_nodes,
    commuted_add,
    inserted_identity,
    softmax_axis_from_the_front,
    nudged_weight,
    renamed_dim,
]


@pytest.mark.parametrize("twin", TWINS, ids=lambda twin: twin.__name__)
def test_a_harmless_edit_passes(hold, twin):
    """What does not change the answer is not reported."""
    outcome = hold(twin, "", "", "--onnxprep-examples=40")

    assert outcome.verdicts == {"test_x[none-export]": "pass", "test_x[none-parity]": "pass"}


def test_an_artifact_may_name_its_outputs_itself(story, exported):
    """Without outputs=, the file's own names are taken in order."""
    onnx.save(exported, str(story.path / "edited.onnx"))
    story.pytester.makepyfile(mixed=ARTIFACT_MODELS)
    outcome = story(TEST.replace('outputs=["probs", "score"], ', "").format(more="", parity=""))

    assert outcome.counts() == {"pass": 2}


def test_an_artifact_with_too_few_outputs_fails(story, exported):
    """An output that the framework has and the file lacks is a finding."""
    proto = onnx.ModelProto()
    proto.CopyFrom(exported)
    del proto.graph.output[1]
    onnx.save(proto, str(story.path / "edited.onnx"))
    story.pytester.makepyfile(mixed=ARTIFACT_MODELS)
    outcome = story(TEST.replace('outputs=["probs", "score"], ', "").format(more="", parity=""))

    assert "fail" in outcome.counts()
    assert "error" not in outcome.counts()


# what tracers bake in -------------------------------------------------------------------------------------------------

BAKED = {
    "branch_on_shape": "return x * 2 if x.shape[0] > 4 else x + 1",
    "data_dependent_if": "return x * 2 if bool(x.sum() > 0) else x - 1",
    "size_as_number": "return x / int(x.shape[0])",
    "loop_over_rows": "return torch.stack([x[i].cumsum(0) for i in range(x.shape[0])])",
    "float_of_a_tensor": "return x + float(x.max())",
}


@pytest.mark.parametrize("body", BAKED.values(), ids=BAKED)
def test_what_a_tracer_bakes_in_fails_parity(story, body):
    """TorchScript keeps the example's branch, size or number; other examples show it."""
    outcome = story(f"""
        class Baked(nn.Module):
            def forward(self, x):
                {body}

        @onnx_export(lambda: Baked(), inputs=X, exporter="torchscript", opset=17)
        @parity()
        def test_x(onnx_model): pass
        """)

    assert outcome.verdict("parity") == "fail"
    assert outcome.one("parity")["figures"]["replay"]


def test_the_smallest_size_that_shows_a_branch(story):
    """The branch at five rows is reported at five rows."""
    outcome = story("""
        @onnx_export(build_branches, inputs=X, dims={"batch": (1, 64)}, exporter="torchscript", opset=17)
        @parity()
        def test_x(onnx_model): pass
        """)

    assert outcome.one("parity")["figures"]["minimal"]["dims"] == {"batch": 5}


# the replay folder ----------------------------------------------------------------------------------------------------


def test_the_replay_shows_the_failure_without_us(hold, tmp_path):
    """replay.py needs onnxruntime and numpy only, says DIFFERS and exits with 1."""
    folder = Path(hold(edited_weight).one("parity")["figures"]["replay"])
    guard = (
        "import runpy, sys\n"
        "for name in ('torch', 'onnx', 'pytest', 'pytest_onnxprep', 'hypothesis', 'tensorflow'):\n"
        "    sys.modules[name] = None\n"
        f"runpy.run_path({str(folder / 'replay.py')!r}, run_name='__main__')"
    )
    ran = subprocess.run([sys.executable, "-c", guard], cwd=tmp_path, capture_output=True, text=True, check=False)

    assert {path.name for path in folder.iterdir()} >= {"model.onnx", "feeds.npz", "expected.npz", "replay.py"}
    assert ran.returncode == 1, ran.stderr
    assert "DIFFERS" in ran.stdout


def test_the_replay_of_a_mended_model_is_calm(hold, exported):
    """With the honest file in its place the replay exits with 0."""
    folder = Path(hold(edited_weight).one("parity")["figures"]["replay"])
    os.chmod(folder / "model.onnx", 0o644)
    onnx.save(exported, str(folder / "model.onnx"))
    ran = subprocess.run([sys.executable, str(folder / "replay.py")], capture_output=True, text=True, check=False)

    assert ran.returncode == 0, ran.stdout
    assert "DIFFERS" not in ran.stdout


def test_the_line_to_paste_pins_the_example(hold, story):
    """``samples=`` with the replay's feeds fails again, on that example."""
    folder = Path(hold(edited_weight).one("parity")["figures"]["replay"])
    pinned = TEST.format(more=f", samples={str(folder / 'feeds.npz')!r}", parity="max_examples=1")
    outcome = story(pinned)

    assert outcome.verdict("parity") == "fail"
    assert "feeds.npz" in str(outcome.one("parity")["figures"]["minimal"])
