"""Mutations of ONNX graphs: each changes something, leaves a valid graph, and does the same again for the same seed."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from benchmarks.detection.mutants import KINDS, Model, neighbours
from benchmarks.detection.mutants.apply import Mutant, selection, signature_of
from benchmarks.detection.mutants.graph import attribute
from benchmarks.detection.mutants.hosts import HOSTS


def weights(rng, **shapes):
    """Named initializers, standard normal."""
    return [numpy_helper.from_array(rng.standard_normal(shape).astype("float32"), n) for n, shape in shapes.items()]


def constants(**values):
    """Named integer initializers."""
    return [numpy_helper.from_array(np.array(value, "int64"), name) for name, value in values.items()]


def proto(nodes, inputs, outputs, initializers):
    """A checked model at opset 17."""
    graph = helper.make_graph(nodes, "toy", inputs, outputs, initializers)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    return model


def picture_net():
    """Convolutions, a residual, pooling, a head."""
    rng = np.random.default_rng(0)
    node = helper.make_node
    nodes = [
        node("Conv", ["x", "w1", "b1"], ["c1"], pads=[1] * 4, kernel_shape=[3, 3], dilations=[1, 1], strides=[2, 2]),
        node("BatchNormalization", ["c1", "scale", "shift", "mean", "var"], ["n1"]),
        node("Relu", ["n1"], ["r1"]),
        node("Conv", ["r1", "w2", "b2"], ["c2"], pads=[1] * 4, kernel_shape=[3, 3], group=2),
        node("Add", ["c2", "r1"], ["a1"]),
        node("MaxPool", ["a1"], ["p1"], kernel_shape=[2, 2], strides=[2, 2]),
        node("GlobalAveragePool", ["p1"], ["g1"]),
        node("Flatten", ["g1"], ["f1"]),
        node("Gemm", ["f1", "w3", "b3"], ["h1"], transB=1),
        node("Softmax", ["h1"], ["y"], axis=-1),
    ]
    initializers = weights(rng, w1=(4, 3, 3, 3), b1=4, w2=(4, 2, 3, 3), b2=4, scale=4, shift=4, mean=4, w3=(4, 4), b3=4)
    initializers.append(numpy_helper.from_array(rng.uniform(0.5, 1.5, 4).astype("float32"), "var"))
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 3, "h", "w"])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 4])
    return proto(nodes, [x], [y], initializers)


def text_net():
    """An embedding, masked attention scores, a norm, shapes computed on the way, an LSTM."""
    rng = np.random.default_rng(1)
    node = helper.make_node
    nodes = [
        node("Gather", ["table", "ids"], ["e"]),
        node("LayerNormalization", ["e", "scale", "shift"], ["n"], axis=-1),
        node("MatMul", ["n", "wq"], ["q"]),
        node("Add", ["q", "bq"], ["qb"]),
        node("Transpose", ["n"], ["k"], perm=[0, 2, 1]),
        node("MatMul", ["qb", "k"], ["s"]),
        node("Mul", ["s", "factor"], ["scaled"]),
        node("Shape", ["scaled"], ["shape"]),
        node("Expand", ["low", "shape"], ["lows"]),
        node("Less", ["scaled", "limit"], ["small"]),
        node("Where", ["small", "lows", "scaled"], ["masked"]),
        node("Softmax", ["masked"], ["p"], axis=-1),
        node("MatMul", ["p", "n"], ["o"]),
        node("Slice", ["o", "first", "second", "axis"], ["part"]),
        node("Concat", ["part", "o"], ["both"], axis=-1),
        node("Tanh", ["both"], ["t"]),
        node("Split", ["t"], ["left", "right"], axis=-1),
        node("Sub", ["left", "right"], ["d"]),
        node("ReduceMean", ["d"], ["y"], axes=[1], keepdims=0),
        node("LSTM", ["o", "lw", "lr", "lb"], ["states"], hidden_size=3, direction="bidirectional"),
    ]
    initializers = weights(
        rng, table=(12, 6), scale=6, shift=6, wq=(6, 6), bq=6, lw=(2, 12, 6), lr=(2, 12, 3), lb=(2, 24)
    )
    initializers += constants(first=[1], second=[3], axis=[2])
    for name, value in {"factor": 0.5, "low": -1e9, "limit": -2.0}.items():
        initializers.append(numpy_helper.from_array(np.array(value, "float32"), name))
    ids = helper.make_tensor_value_info("ids", TensorProto.INT64, ["batch", "seq"])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 4])
    states = helper.make_tensor_value_info("states", TensorProto.FLOAT, ["batch", 2, "seq", 3])
    return proto(nodes, [ids], [y, states], initializers)


FEEDS = {
    picture_net: {"x": np.ones((2, 3, 8, 8), "float32")},
    text_net: {"ids": np.arange(6).reshape(2, 3)},
}


def mutated(kind, build, seed=0):
    """The mutated model and the node touched; None where the kind does not apply."""
    model = build()
    node = KINDS[kind](Model(model, FEEDS[build]), np.random.default_rng(seed))
    return None if node is None else (model, node)


@pytest.mark.parametrize("build", FEEDS, ids=lambda build: build.__name__)
@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_changes_the_graph_and_keeps_it_valid(kind, build):
    """What a mutation gives is another graph, valid, with the node it names, and the same one for the same seed."""
    applied = mutated(kind, build)
    if applied is None:
        return
    model, node = applied
    named = build()
    Model(named)  # names the nodes, nothing else

    assert node in {n.name for n in model.graph.node}
    assert model.SerializeToString(deterministic=True) != named.SerializeToString(deterministic=True)
    assert model.SerializeToString(deterministic=True) == mutated(kind, build)[0].SerializeToString(deterministic=True)
    onnx.checker.check_model(model)


def test_most_kinds_apply_to_two_small_nets():
    """The toys above are no empty exercise."""
    applying = {kind for kind in KINDS for build in FEEDS if mutated(kind, build) is not None}

    assert len(applying) >= 80


def test_a_seed_chooses_the_node():
    """With several candidates, seeds reach more than one of them."""
    assert len({mutated("weight_negated", picture_net, seed)[1] for seed in range(40)}) == 3


def test_a_shared_weight_changes_for_one_user_only():
    """Only the node that is named sees the other weight."""
    model, node = mutated("weight_scaled_2", picture_net)

    readers = [n.name for n in model.graph.node if any(name.startswith("mutated_") for name in n.input)]
    assert readers == [node]
    assert "w1" in {tensor.name for tensor in model.graph.initializer}


def test_a_dropped_node_is_named_by_its_reader():
    """A mutant without a node is to be blamed on the one that reads the wrong value."""
    model, node = mutated("softmax_dropped", text_net)

    assert "Softmax" not in {n.op_type for n in model.graph.node}
    assert next(n for n in model.graph.node if n.name == node).op_type == "MatMul"


def test_a_baked_shape_is_the_traced_one():
    """The constant is what was computed at the traced sizes."""
    model, node = mutated("expand_baked", text_net)

    expand = next(n for n in model.graph.node if n.name == node)
    baked = next(t for t in model.graph.initializer if t.name == expand.input[1])
    assert numpy_helper.to_array(baked).tolist() == [2, 3, 3]


def test_neighbours_share_a_tensor():
    """Makers of what a node reads and readers of what it makes; not the readers of a shared weight."""
    model = picture_net()
    Model(model)
    by_op = {n.op_type: n.name for n in model.graph.node}

    assert neighbours(model, by_op["MaxPool"]) == {by_op["MaxPool"], by_op["Add"], by_op["GlobalAveragePool"]}


def test_names_are_unique_and_kept():
    """Nameless and repeated names are replaced, others stay."""
    model = picture_net()
    model.graph.node[2].name = "mine"
    model.graph.node[3].name = "mine"
    Model(model)
    names = [n.name for n in model.graph.node]

    assert len(set(names)) == len(names)
    assert names[2] == "mine"
    assert attribute(model.graph.node[0], "strides") == [2, 2]


def test_the_selection_is_made_of_known_kinds_and_hosts():
    """At least 60 kinds on at least 8 models of the zoo, each name once, witnesses within the declaration."""
    mutants = selection()["mutants"]
    names = [Mutant(m["kind"], m["host"], m["seed"]).name for m in mutants]

    assert len(mutants) >= 120
    assert len({m["kind"] for m in mutants}) >= 60
    assert len({m["host"].rpartition("_")[0] for m in mutants}) >= 8
    assert len(set(names)) == len(names)
    assert {m["kind"] for m in mutants} <= set(KINDS)
    for mutant in mutants:
        signature = signature_of(HOSTS[mutant["host"]])
        assert all(size in signature.dims[name] for name, size in mutant["witness"]["sizes"].items())
