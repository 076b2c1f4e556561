"""Nodes of the optimised graph led back to the file's, on graphs that ONNX Runtime itself optimised."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from pytest_onnxprep.localise.layers import layer_of_node
from pytest_onnxprep.localise.optimised import Origins
from pytest_onnxprep.runtime.profile import profile


@pytest.fixture
def lead_back(tmp_path):
    """Profile a graph and lead each node that ran back: operator -> what was traced."""

    def run(nodes, weights, shape, *, hidden=False, by_name=False):
        x = helper.make_tensor_value_info("x", TensorProto.FLOAT, list(shape))
        y = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
        values = [
            helper.make_tensor(name, TensorProto.FLOAT, size, np.full(size, 0.1).ravel()) for name, size in weights
        ]
        graph = helper.make_graph(nodes, "g", [x], [y], values)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        onnx.save(model, str(tmp_path / "model.onnx"))
        (tmp_path / "work").mkdir()
        feeds = {"x": np.ones(shape, np.float32)}
        found = profile(tmp_path / "model.onnx", feeds, tmp_path / "work")
        origins = Origins(model, None if hidden else found.optimised)
        return {node.name if by_name else node.operator: origins.trace(node.name) for node in found.nodes}

    return run


CONV = [
    helper.make_node("Conv", ["x", "w"], ["c"], "/stem/conv/Conv", kernel_shape=[3, 3]),
    helper.make_node("Relu", ["c"], ["r"], "/stem/act/Relu"),
    helper.make_node("GlobalAveragePool", ["r"], ["p"], "/pool/GlobalAveragePool"),
    helper.make_node("Flatten", ["p"], ["f"], "/Flatten"),
    helper.make_node("Gemm", ["f", "v"], ["y"], "/head/Gemm"),
]
CONV_WEIGHTS = [("w", (16, 16, 3, 3)), ("v", (16, 4))]


def test_a_relu_folded_into_a_conv_belongs_to_it(lead_back) -> None:
    """The Conv that ran stands for both nodes of the file; nodes that stayed stand for themselves."""
    found = lead_back(CONV, CONV_WEIGHTS, (1, 16, 12, 12))

    assert next(t for op, t in found.items() if "Conv" in op).origins == ("/stem/conv/Conv", "/stem/act/Relu")
    assert (found["Gemm"].origins, found["Gemm"].layer, found["Gemm"].how) == (("/head/Gemm",), "head", "name")


def test_a_pattern_fused_under_a_new_name_is_what_lies_between(lead_back) -> None:
    """The five nodes of a GELU become one whose name says nothing; it is led back to all of them and their layer."""
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["m"], "/mlp/up/MatMul"),
        helper.make_node("Div", ["m", "root"], ["d"], "/mlp/act/Div"),
        helper.make_node("Erf", ["d"], ["e"], "/mlp/act/Erf"),
        helper.make_node("Add", ["e", "one"], ["a"], "/mlp/act/Add"),
        helper.make_node("Mul", ["m", "a"], ["b"], "/mlp/act/Mul"),
        helper.make_node("Mul", ["b", "half"], ["g"], "/mlp/act/Mul_1"),
        helper.make_node("MatMul", ["g", "w"], ["y"], "/mlp/down/MatMul"),
    ]
    scalars = {"root": 2**0.5, "one": 1.0, "half": 0.5}
    constants = [
        helper.make_node("Constant", [], [name], value=helper.make_tensor(name, TensorProto.FLOAT, [], [value]))
        for name, value in scalars.items()
    ]

    found = lead_back([*constants, *nodes], [("w", (8, 8))], (4, 8))

    assert found["Gelu"].layer == "mlp.act"
    assert {name.rpartition("/")[2] for name in found["Gelu"].origins} == {"Div", "Erf", "Add", "Mul", "Mul_1"}


def test_names_alone_are_used_where_the_graph_is_hidden(lead_back) -> None:
    """Other providers do not write their graph: what keeps its name is found, what does not is not guessed at."""
    found = lead_back(CONV, CONV_WEIGHTS, (1, 16, 12, 12), hidden=True)

    assert found["Gemm"].layer == "head"
    assert all(traced.how in ("name", "") for traced in found.values())


@pytest.mark.parametrize(
    ("name", "layer"),
    [
        ("/model/blocks/blocks.0/norm1/Add", "blocks.0.norm1"),
        ("/model/bert/encoder/layer.0/attention/self/query/MatMul", "bert.encoder.layer.0.attention.self.query"),
        ("/Softmax", ""),
        ("StatefulPartitionedCall/cnn_1/relu_1/Relu", "cnn_1/relu_1"),
        ("node_Add_30", ""),
        ("", ""),
    ],
)
def test_layers_in_names(name: str, layer: str) -> None:
    """The names that torchscript, tf2onnx and jax2onnx give."""
    assert layer_of_node(helper.make_node("Add", ["a"], ["b"], name)).path == layer


def test_a_node_of_several_layers_names_what_they_share() -> None:
    """Two layers are told as the part they share with what tells them apart."""
    names = ["/enc/enc.0/conv/Conv", "/enc/enc.0/act/Relu"]
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], names[0]),
        helper.make_node("Relu", ["c"], ["y"], names[1]),
    ]
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 4, 8, 8]) for name in "xy")
    weights = [helper.make_tensor("w", TensorProto.FLOAT, (4, 4, 1, 1), np.ones(16))]
    file = helper.make_model(helper.make_graph(nodes, "g", [x], [y], weights))
    fused = helper.make_node("Mystery", ["x", "w"], ["hidden"], "fused by someone")
    last = helper.make_node("ReorderOutput", ["hidden"], ["y"], "back", domain="com.microsoft.nchwc")
    run = helper.make_model(helper.make_graph([fused, last], "g", [x], [y], weights))

    found = Origins(file, run).trace("fused by someone")

    assert (found.layer, found.origins, found.how) == ("enc.0 (conv, act)", tuple(names), "between")


def test_an_addition_taken_over_by_a_convolution_leads_no_further_back(lead_back) -> None:
    """Two residual blocks: each Conv stands for what it does, and no node for the blocks before it."""
    nodes, x = [], "x"
    for block in "ab":
        nodes += [
            helper.make_node("Conv", [x, "w"], [f"c{block}"], f"/{block}/first/Conv", kernel_shape=[1, 1]),
            helper.make_node("Relu", [f"c{block}"], [f"r{block}"], f"/{block}/act/Relu"),
            helper.make_node("Conv", [f"r{block}", "w"], [f"d{block}"], f"/{block}/second/Conv", kernel_shape=[1, 1]),
            helper.make_node("Add", [f"d{block}", x], [f"s{block}"], f"/{block}/Add"),
            helper.make_node("Relu", [f"s{block}"], [f"t{block}"], f"/{block}/out/Relu"),
        ]
        x = f"t{block}"
    nodes.append(helper.make_node("GlobalAveragePool", [x], ["y"], "/pool/GlobalAveragePool"))

    found = lead_back(nodes, [("w", (16, 16, 1, 1))], (1, 16, 8, 8), by_name=True)

    stands_for = [traced.origins for traced in found.values()]
    covered = [name for names in stands_for for name in names]
    assert all(len({name.split("/")[1] for name in names}) <= 1 for names in stands_for), stands_for
    assert {f"/{block}/{name}" for block in "ab" for name in ("first/Conv", "second/Conv", "Add")} <= set(covered)
    assert {traced.layer for traced in found.values()} >= {"a.first", "a.second", "b.first", "b.second"}


def test_a_body_belongs_to_the_layer_of_its_loop() -> None:
    """A node within a body whose own name tells nothing has the layer of the node that holds it."""
    count, going, state = (
        helper.make_tensor_value_info(name, kind, [])
        for name, kind in (("i", TensorProto.INT64), ("go", TensorProto.BOOL), ("s", TensorProto.FLOAT))
    )
    steps = [helper.make_node("Identity", ["go"], ["go2"]), helper.make_node("Neg", ["s"], ["s2"], "step")]
    outputs = [
        helper.make_tensor_value_info(*one, []) for one in (("go2", TensorProto.BOOL), ("s2", TensorProto.FLOAT))
    ]
    body = helper.make_graph(steps, "body", [count, going, state], outputs)
    loop = helper.make_node("Loop", ["n", "", "x"], ["y"], "/rnn/Loop", body=body)
    inputs = [helper.make_tensor_value_info("n", TensorProto.INT64, []), helper.make_tensor_value_info("x", 1, [])]
    model = helper.make_model(
        helper.make_graph([loop], "g", inputs, [helper.make_tensor_value_info("y", TensorProto.FLOAT, [])])
    )

    found = Origins(model, model).trace("step")

    assert (found.origins, found.layer, found.layer_from) == (("step",), "rnn", "file")
