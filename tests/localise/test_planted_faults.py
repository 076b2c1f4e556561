"""Faults planted in real exports: the node, its layer and the user's line are named."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from pytest_onnxprep.compare.outputs import Rule
from pytest_onnxprep.spec.tolerance import Tolerance
from tests.localise.conftest import change_attribute, change_constant, named

IMAGE = {"inputs": {"image": "float32[batch, 3, h, w]"}, "dims": {"batch": (1, 4), "h": (8, 16), "w": (8, 16)}}
AT = {"batch": 2, "h": 9, "w": 11}


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm = nn.LayerNorm(8)
        self.mix = nn.Linear(8, 8)

    def forward(self, x):
        return x + torch.nn.functional.gelu(self.mix(self.norm(x)))


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1, stride=2)
        self.first = Block()
        self.second = Block()
        self.head = nn.Linear(8, 5)

    def forward(self, image):
        x = torch.relu(self.stem(image))
        x = x.flatten(2).transpose(1, 2)
        x = self.second(self.first(x))
        pooled = x.mean(1)
        return torch.softmax(self.head(pooled), 1)


def net() -> nn.Module:
    """Convolution, two blocks, a head; no weight has a round value."""
    torch.manual_seed(0)
    model = Net().eval()
    for parameter in model.parameters():
        parameter.data.add_(0.3 * torch.randn_like(parameter))
    return model


@pytest.fixture(params=["dynamo", "torchscript"])
def exported(planted, request):
    """It, by each exporter."""
    return planted(net(), request.param, at=AT, **IMAGE)


def _swap_pads(node):
    change_attribute(node, "pads", [0, 0, 2, 2])


@pytest.mark.parametrize(
    ("operator", "position", "edit"),
    [
        ("Conv", 0, _swap_pads),
        (
            "Conv",
            0,
            lambda node: change_attribute(node, "strides", [2, 2]) or change_attribute(node, "pads", [2, 2, 0, 0]),
        ),
        ("Softmax", 0, lambda node: change_attribute(node, "axis", 0)),
        ("LayerNormalization", 1, lambda node: change_attribute(node, "epsilon", 0.5)),
        ("Transpose", 0, lambda node: change_attribute(node, "perm", [0, 1, 2])),
    ],
    ids=["pads", "pads-back", "axis", "epsilon", "perm"],
)
def test_attribute_of_a_node(exported, operator, position, edit):
    """A node with a wrong attribute is named, or its neighbour."""
    node = exported.nodes(operator)[position]
    found = exported.find(lambda proto: edit(named(proto, node.output[0])))

    assert exported.is_near(found, node), found
    assert found.blame == "converter"


@pytest.mark.parametrize("position", [0, 1])
def test_weight(exported, position):
    """The node that reads a changed weight is named, with its layer and the line of the user's that called it."""
    adds = [node for node in exported.model.proto.graph.node if node.op_type in ("MatMul", "Gemm")]
    node = adds[position]
    found = exported.find(lambda p: change_constant(p, named(p, node.output[0]), 1, lambda w: w * 1.2))

    assert found.output == node.output[0]
    assert found.layer == f"{['first', 'second'][position]}.mix (Linear)"
    assert found.source_line.startswith(f"{Path(__file__).name}:")
    assert "self.mix(self.norm(x))" in found.source_line
    assert found.max_abs > 1e-3


def test_dropped_node(exported):
    """Where a node is missing, the one that should have read it is named."""
    relu = exported.nodes("Relu")[0]

    def drop(proto):
        for node in proto.graph.node:
            for slot, name in enumerate(node.input):
                if name == relu.output[0]:
                    node.input[slot] = relu.input[0]
        proto.graph.node.remove(named(proto, relu.output[0]))

    assert exported.is_near(exported.find(drop), relu)


def test_cast(exported):
    """A cast that throws digits away is found."""
    node = exported.nodes("Relu")[0]

    def cast(proto):
        index = list(proto.graph.node).index(named(proto, node.output[0]))
        proto.graph.node[index].output[0] = "raw"
        proto.graph.node.insert(index + 1, onnx.helper.make_node("Cast", ["raw"], ["whole"], to=6, name="down"))
        proto.graph.node.insert(index + 2, onnx.helper.make_node("Cast", ["whole"], list(node.output), to=1, name="up"))

    assert exported.find(cast).node in ("down", "up", node.name)


def test_baked_dimension_that_is_refused(planted):
    """Where ONNX Runtime refuses a reshape, the reshape or what computed its shape is named, and what is wrong."""

    class Heads(nn.Module):
        def forward(self, x):
            return torch.tanh(x.reshape(x.shape[0], x.shape[1], 2, 4).transpose(1, 2))

    case = planted(
        Heads().eval(),
        "torchscript",
        inputs={"x": "float32[b, t, 8]"},
        dims={"b": (1, 4), "t": (2, 9)},
        at={"b": 2, "t": 5},
    )
    node = case.nodes("Reshape")[0]
    concat = named(case.model.proto, node.input[1])

    def bake(proto):
        proto.graph.initializer.append(onnx.numpy_helper.from_array(np.array([3]), "three"))
        named(proto, concat.output[0]).input[1] = "three"

    found = case.find(bake)

    assert case.is_near(found, concat), found
    assert "where the framework has [2, 5, 2, 4]" in found.hint


def test_keras_layer(planted):
    """Channels last in the framework and first in the file are matched all the same."""
    import keras

    keras.utils.set_random_seed(3)
    model = keras.Sequential(
        [
            keras.Input((12, 10, 3), name="image"),
            keras.layers.Conv2D(4, 3, padding="same", activation="relu", name="stem"),
            keras.layers.MaxPooling2D(),
            keras.layers.Conv2D(6, 3, name="deep"),
            keras.layers.GlobalAveragePooling2D(),
            keras.layers.Dense(3, name="scores"),
        ]
    )
    case = planted(model, at={"batch": 2})
    node = case.nodes("Conv")[1]
    found = case.find(lambda p: change_constant(p, named(p, node.output[0]), 1, lambda w: w * 1.3))

    assert case.is_near(found, node), found
    assert found.layer.endswith("deep (Conv2D)")


def test_line_of_a_tf_function(planted):
    """TensorFlow remembers which line of the user's made an operation."""
    import tensorflow as tf

    weight = tf.constant(np.random.default_rng(0).standard_normal((4, 4)), tf.float32)

    @tf.function(input_signature=[tf.TensorSpec([None, 4], tf.float32, name="x")])
    def double(x):
        hidden = tf.tanh(x @ weight)
        return tf.nn.softmax(hidden * 3.0)

    case = planted(double, at={"batch": 3})
    node = case.nodes("Softmax")[0]
    found = case.find(lambda p: change_attribute(named(p, node.output[0]), "axis", 0))

    assert case.is_near(found, node), found
    assert "tf.nn.softmax(hidden * 3.0)" in found.source_line


def test_transformers_layer(planted):
    """In a Transformers model the layer is named by its path, and the line is the library's."""
    import transformers

    torch.manual_seed(0)
    config = transformers.BertConfig(
        vocab_size=32, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=24
    )
    model = transformers.BertForSequenceClassification(config).eval()
    for parameter in model.parameters():
        parameter.data.add_(0.2 * torch.randn_like(parameter))
    case = planted(model, "torchscript", at={"batch": 2, "seq": 6})
    node = next(one for one in case.nodes("MatMul") if "layer.1/intermediate" in one.name)
    found = case.find(lambda p: change_constant(p, named(p, node.output[0]), 1, lambda w: w * 1.2))

    assert case.is_near(found, node), found
    assert found.layer == "bert.encoder.layer.1.intermediate.dense (Linear)"
    assert found.source_line.startswith("modeling_bert.py:")


def test_digits_lost_in_a_model_of_doubles(planted):
    """What passes for rounding in float32 is a fault in float64."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 4)).eval().double()
    exported = planted(model, "dynamo", inputs={"x": "float64[batch, 8]"}, at={"batch": 3})

    def narrow(proto):
        node = named(proto, exported.nodes("Tanh")[0].output[0])
        after = list(proto.graph.node).index(node) + 1
        for index, kind in enumerate((onnx.TensorProto.FLOAT, onnx.TensorProto.DOUBLE)):
            cast = onnx.helper.make_node(
                "Cast", [("exact", "single")[index]], [("single", node.output[0])[index]], to=kind
            )
            proto.graph.node.insert(after + index, cast)
        node.output[0] = "exact"

    found = exported.find(narrow, rule=Rule(Tolerance(1e-13, 1e-12)))

    assert found.op_type == "Cast"
    assert found.blame == "converter"
    assert (found.expected, found.actual) == ("float64[3, 8]", "float64[3, 8]")
