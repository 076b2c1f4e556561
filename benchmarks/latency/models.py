"""Chains of MatMul and Relu: a given share of real extra work is a given number of layers more."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

WIDTH = 128
BATCH = 32
#: Layers of the model everything is compared with.
LAYERS = 60
#: Models with real extra work: name -> layers.
SLOWER = {"+5 %": 63, "+20 %": 72, "x1.5": 90}


def chain(path: Path, layers: int) -> Path:
    """Write a chain of so many layers, the same weights every time."""
    rng = np.random.default_rng(0)
    nodes, weights, last = [], [], "x"
    for layer in range(layers):
        weight = (rng.standard_normal((WIDTH, WIDTH)) * np.sqrt(2 / WIDTH)).astype(np.float32)
        weights.append(numpy_helper.from_array(weight, f"w{layer}"))
        after = "y" if layer == layers - 1 else f"r{layer}"
        nodes += [
            helper.make_node("MatMul", [last, f"w{layer}"], [f"m{layer}"]),
            helper.make_node("Relu", [f"m{layer}"], [after]),
        ]
        last = after
    inputs, outputs = ([helper.make_tensor_value_info(name, TensorProto.FLOAT, [BATCH, WIDTH])] for name in "xy")
    graph = helper.make_graph(nodes, "chain", inputs, outputs, weights)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path
