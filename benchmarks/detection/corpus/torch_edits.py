"""What converters of the past did, applied to today's sound graphs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from benchmarks.detection.case import Case

#: The cases that use these edits stand in the other modules.
CASES: list[Case] = []


def resize_pytorch_half_pixel(proto: Any) -> Any:
    """Let Resize use the coordinates that read the first pixel where an output has length one."""
    for node in _nodes(proto, "Resize"):
        _set(node, "coordinate_transformation_mode", "pytorch_half_pixel")
    return proto


def align_corners_ignored(proto: Any) -> Any:
    """Let Resize use half-pixel coordinates."""
    for node in _nodes(proto, "Resize"):
        _set(node, "coordinate_transformation_mode", "half_pixel")
    return proto


def instance_statistics(proto: Any) -> Any:
    """Normalise with the statistics of the instance."""
    for node in _nodes(proto, "BatchNormalization"):
        node.op_type = "InstanceNormalization"
        del node.input[3:]
        epsilon = [attribute for attribute in node.attribute if attribute.name == "epsilon"]
        del node.attribute[:]
        node.attribute.extend(epsilon)
    return proto


def training_mode_batch_norm(proto: Any) -> Any:
    """Normalise with the statistics of the batch."""
    for node in _nodes(proto, "BatchNormalization"):
        _set(node, "training_mode", 1)
        node.output.extend([f"{node.output[0]}_mean", f"{node.output[0]}_var"])
    return proto


def conv_bias_not_shifted(proto: Any) -> Any:
    """Lose the bias that folding a batch norm gives to a convolution without one."""
    biases = {node.input[2] for node in _nodes(proto, "Conv")}
    for initializer in proto.graph.initializer:
        if initializer.name in biases:
            bias = numpy_helper.to_array(initializer)
            initializer.CopyFrom(numpy_helper.from_array(np.zeros_like(bias), initializer.name))
    return proto


def dilation_ignored_by_pads(proto: Any) -> Any:
    """Pad a dilated convolution as if it were not dilated."""
    for node in _nodes(proto, "Conv"):
        dilations, pads = _get(node, "dilations"), _get(node, "pads")
        _set(node, "pads", [pad // dilation for pad, dilation in zip(pads, dilations * 2, strict=True)])
    return proto


def no_output_padding(proto: Any) -> Any:
    """Drop the output padding of a transposed convolution."""
    for node in _nodes(proto, "ConvTranspose"):
        _set(node, "output_padding", [0] * len(_get(node, "output_padding")))
    return proto


def shape_folded(length: int) -> Any:
    """An edit that folds the shape of the input ``x`` into a constant, at the size of an example."""

    def edit(proto: Any) -> Any:
        rank = len(next(value for value in proto.graph.input if value.name == "x").type.tensor_type.shape.dim)
        for node in list(_nodes(proto, "Shape")):
            if node.input[0] == "x":
                assert rank == 1, "the example is a vector"
                constant = numpy_helper.from_array(np.array([length], np.int64), node.output[0])
                node.CopyFrom(helper.make_node("Constant", [], [node.output[0]], value=constant))
        return proto

    return edit


def fmod_for_remainder(proto: Any) -> Any:
    """Let the remainder take the sign of the dividend, as C does."""
    for node in _nodes(proto, "Mod"):
        _set(node, "fmod", 1)
    return proto


def beta_taken_for_one(proto: Any) -> Any:
    """Forget the factor on the third input of Gemm."""
    for node in _nodes(proto, "Gemm"):
        _set(node, "beta", 1.0)
    return proto


def reduction_dropped(proto: Any) -> Any:
    """Let scattered values overwrite each other."""
    for node in (*_nodes(proto, "ScatterND"), *_nodes(proto, "ScatterElements")):
        _set(node, "reduction", "none")
    return proto


def _nodes(proto: Any, operator: str) -> Iterator[Any]:
    """The nodes of an operator; there has to be one, or the edit is of another graph."""
    found = [node for node in proto.graph.node if node.op_type == operator]
    if not found and operator not in ("ScatterND", "ScatterElements"):
        raise ValueError(f"no {operator} among {sorted({node.op_type for node in proto.graph.node})}")
    return iter(found)


def _get(node: Any, name: str) -> Any:
    """An attribute's value."""
    return next(onnx.helper.get_attribute_value(attribute) for attribute in node.attribute if attribute.name == name)


def _set(node: Any, name: str, value: Any) -> None:
    """Set an attribute, whether the node has it or not."""
    kept = [attribute for attribute in node.attribute if attribute.name != name]
    del node.attribute[:]
    node.attribute.extend([*kept, helper.make_attribute(name, value)])
