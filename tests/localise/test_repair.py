"""Faults that comparing tensors alone misplaces: values that match by chance, detours, results nothing was made of."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from pytest_onnxprep.compare.outputs import Rule
from pytest_onnxprep.spec.tolerance import Tolerance
from tests.localise.conftest import change_constant, named

VECTOR = {"inputs": {"x": "float32[batch, 6]"}, "dims": {"batch": (1, 4)}, "at": {"batch": 3}}
TIGHT = Rule(Tolerance(1e-5, 0.0))
EXPORTERS = pytest.mark.parametrize("exporter", ["dynamo", "torchscript"])


class Stepped(nn.Module):
    """Both outputs come from one product; the first tells little of it."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(1)
        self.first, self.second = nn.Linear(6, 6), nn.Linear(6, 6)

    def forward(self, x):
        hidden = torch.tanh(self.first(x))
        cells = torch.floor(hidden * 4.0) / 4.0
        return cells, self.second(torch.sigmoid(hidden))


class Counted(nn.Module):
    """A mask of comparisons, which leaves most rows as they are."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(2)
        self.table, self.mix = nn.Embedding(9, 8), nn.Linear(8, 8)

    def forward(self, tokens):
        hidden = self.table(tokens).masked_fill((tokens > 3).unsqueeze(-1), 0.0)
        return torch.tanh(self.mix(hidden).cumsum(1))


def insert(proto: onnx.ModelProto, name: str, nodes: list) -> None:
    """Put nodes behind a tensor; the first reads it, the last writes it for all who read it."""
    at = list(proto.graph.node).index(named(proto, name))
    proto.graph.node[at].output[0] = f"{name}_raw"
    for step, node in enumerate(nodes):
        proto.graph.node.insert(at + 1 + step, node)


@EXPORTERS
def test_dropped_step_whose_neighbours_undo_each_other(planted, exporter):
    """Without Floor the division gives back what was multiplied: a value of the framework's, yet not the right one."""
    case = planted(Stepped().eval(), exporter, **VECTOR)
    floor = case.nodes("Floor")[0]

    def drop(proto):
        for node in proto.graph.node:
            for slot, name in enumerate(node.input):
                if name == floor.output[0]:
                    node.input[slot] = floor.input[0]
        proto.graph.node.remove(named(proto, floor.output[0]))

    assert case.is_near(case.find(drop), floor)


@EXPORTERS
def test_rounded_result_proves_nothing(planted, exporter):
    """A small fault before Floor leaves the cells right; they do not vouch for it."""
    case = planted(Stepped().eval(), exporter, **VECTOR)
    node = case.nodes("Gemm")[0]
    edit = lambda p: change_constant(p, named(p, node.output[0]), 1, lambda w: w * 1.0005)  # noqa: E731

    assert case.is_near(case.find(edit, TIGHT), node)


@EXPORTERS
def test_comparison(planted, exporter):
    """A wrong comparison is named, though the masked value equals the unmasked one and the mask is plain."""
    feeds = {"tokens": np.array([[3, 1, 3, 2, 0]])}
    case = planted(
        Counted().eval(),
        exporter,
        inputs={"tokens": "int64[batch, seq]"},
        dims={"batch": (1, 4), "seq": (2, 9)},
        feeds=feeds,
    )
    node = case.nodes("Greater")[0]

    def strict(proto):
        named(proto, node.output[0]).op_type = "GreaterOrEqual"

    assert case.is_near(case.find(strict), node)


@EXPORTERS
@pytest.mark.parametrize("kind", [10, 16], ids=["float16", "bfloat16"])
def test_detour_through_half(planted, exporter, kind):
    """Casts down and up again are named, whether numpy knows the dtype or not and however little they lose."""
    case = planted(Stepped().eval(), exporter, **VECTOR)
    name = case.nodes("Sigmoid")[0].output[0]

    def detour(proto):
        down = onnx.helper.make_node("Cast", [f"{name}_raw"], ["half"], to=kind, name="down")
        insert(proto, name, [down, onnx.helper.make_node("Cast", ["half"], [name], to=1, name="up")])

    assert case.find(detour, TIGHT).node in ("down", "up")


@EXPORTERS
def test_outputs_swapped(planted, exporter):
    """Where every tensor is right and the outputs are wrong, the one that writes a wrong output is named."""
    case = planted(Stepped().eval(), exporter, **VECTOR)
    names = [value.name for value in case.model.proto.graph.output]

    def swap(proto):
        other = {names[0]: names[1], names[1]: names[0]}
        for node in proto.graph.node:
            for slots in (node.input, node.output):
                for slot, name in enumerate(slots):
                    slots[slot] = other.get(name, name)

    assert case.find(swap).output in names


def test_loop(planted):
    """What a loop passes on unchanged does not vouch for what it computes."""
    import tensorflow as tf

    weight = tf.constant(np.random.default_rng(0).standard_normal((4, 4)), tf.float32)

    @tf.function(input_signature=[tf.TensorSpec([None, 4], tf.float32, name="x")])
    def powers(x):
        _, hidden, _ = tf.while_loop(
            lambda i, hidden, x: i < 3,
            lambda i, hidden, x: (i + 1, tf.tanh(hidden @ weight + x), x),
            [tf.constant(0), tf.zeros_like(x), x],
        )
        return tf.nn.softmax(hidden * 3.0)

    case = planted(powers, at={"batch": 3})
    loop = case.nodes("Loop")[0]

    def halve(proto):
        body = next(one.g for one in named(proto, loop.output[0]).attribute if one.name == "body")
        next(node for node in body.node if node.op_type == "Tanh").op_type = "Sigmoid"

    assert case.find(halve).op_type == "Loop"
