"""Mutations of operators: one is taken for a similar one."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from benchmarks.detection.mutants.graph import KINDS, Model, Site, attribute, kind, set_attribute

#: name -> (operators, the operator that takes their place, only where tensors are float32).
_REPLACED: dict[str, tuple[tuple[str, ...], str, bool]] = {
    "relu_leaky": (("Relu",), "LeakyRelu", True),
    "relu_softplus": (("Relu",), "Softplus", True),
    "relu_elu": (("Relu",), "Elu", True),
    "relu_abs": (("Relu",), "Abs", True),
    "leaky_relu": (("LeakyRelu",), "Relu", True),
    "elu_selu": (("Elu",), "Selu", True),
    "add_sub": (("Add",), "Sub", True),
    "sub_add": (("Sub",), "Add", True),
    "mul_div": (("Mul",), "Div", True),
    "div_mul": (("Div",), "Mul", True),
    "min_max": (("Min",), "Max", True),
    "max_min": (("Max",), "Min", True),
    "floor_round": (("Floor",), "Round", True),
    "floor_ceil": (("Floor",), "Ceil", True),
    "mean_sum": (("ReduceMean",), "ReduceSum", False),
    "mean_max": (("ReduceMean",), "ReduceMax", False),
    "sum_mean": (("ReduceSum",), "ReduceMean", True),
    "global_average_max": (("GlobalAveragePool",), "GlobalMaxPool", True),
    "average_max_pool": (("AveragePool",), "MaxPool", True),
    "max_average_pool": (("MaxPool",), "AveragePool", True),
    "less_or_equal": (("Less",), "LessOrEqual", False),
    "less_strict": (("LessOrEqual",), "Less", False),
    "greater_strict": (("GreaterOrEqual",), "Greater", False),
    "greater_or_equal": (("Greater",), "GreaterOrEqual", False),
    "and_or": (("And",), "Or", False),
    "and_xor": (("And",), "Xor", False),
    "or_and": (("Or",), "And", False),
    "erf_tanh": (("Erf",), "Tanh", True),
    "sigmoid_hard": (("Sigmoid",), "HardSigmoid", True),
    "sigmoid_tanh": (("Sigmoid",), "Tanh", True),
    "tanh_softsign": (("Tanh",), "Softsign", True),
    "tanh_sigmoid": (("Tanh",), "Sigmoid", True),
    "softmax_log": (("Softmax",), "LogSoftmax", True),
    "softmax_hardmax": (("Softmax",), "Hardmax", True),
    "sqrt_abs": (("Sqrt",), "Abs", True),
    "argmax_argmin": (("ArgMax",), "ArgMin", False),
    "gelu_relu": (("Gelu",), "Relu", True),
    "square_root_of_reciprocal": (("Reciprocal",), "Neg", True),
}
#: Attributes that a replacement understands; others are dropped.
_KEPT = {
    "ReduceSum": ("axes", "keepdims"),
    "ReduceMax": ("axes", "keepdims"),
    "ReduceMean": ("axes", "keepdims"),
    "MaxPool": ("kernel_shape", "strides", "pads", "ceil_mode", "auto_pad"),
    "AveragePool": ("kernel_shape", "strides", "pads", "ceil_mode", "auto_pad"),
    "LogSoftmax": ("axis",),
    "Hardmax": ("axis",),
    "ArgMin": ("axis", "keepdims", "select_last_index"),
}


def _replacing(ops: tuple[str, ...], by: str, floats: bool) -> Callable[[Model, np.random.Generator], str | None]:
    def mutation(model: Model, rng: np.random.Generator) -> str | None:
        def fits(site: Site) -> bool:
            if by == "AveragePool" and len(site.node.output) > 1:
                return False
            return not floats or model.is_float(site.node.input[0])

        site = model.pick(rng, *ops, where=fits)
        return None if site is None else _replace(model, site, by)

    return mutation


def _replace(model: Model, site: Site, by: str) -> str:
    node = site.node
    kept = [entry for entry in node.attribute if entry.name in _KEPT.get(by, ())]
    axes = attribute(node, "axes")
    del node.attribute[:]
    node.op_type = by
    node.attribute.extend(kept)
    # The sum took its axes as an input from opset 13 on, mean and maximum from 18 on.
    as_input = model.opset >= (13 if by == "ReduceSum" else 18)
    if by.startswith("Reduce") and axes is not None and as_input:
        set_attribute(node, "axes", None)
        model.set_constant(site, 1, np.array(axes, np.int64))
    elif by.startswith("Reduce") and len(node.input) > 1 and not as_input:
        constant = model.constant(node.input[1])
        assert constant is not None
        del node.input[1:]
        set_attribute(node, "axes", constant.tolist())
    return str(node.name)


for _name, (_ops, _by, _floats) in _REPLACED.items():
    KINDS[_name] = _replacing(_ops, _by, _floats)


@kind("relu_clip_6")
def _relu_6(model: Model, rng: np.random.Generator) -> str | None:
    """ReLU6 in place of ReLU."""
    site = model.pick(rng, "Relu")
    if site is None:
        return None
    site.node.op_type = "Clip"
    model.set_constant(site, 1, np.float32(0))
    return model.set_constant(site, 2, np.float32(6))


@kind("clip_without_maximum")
def _clip_open(model: Model, rng: np.random.Generator) -> str | None:
    """ReLU in place of ReLU6."""
    site = model.pick(rng, "Clip", where=lambda site: len(site.node.input) > 2)
    if site is None:
        return None
    del site.node.input[2:]
    return str(site.node.name)


@kind("condition_inverted")
def _inverted(model: Model, rng: np.random.Generator) -> str | None:
    """The polarity of a mask."""
    site = model.pick(rng, "Where")
    if site is None:
        return None
    site.node.input[0] = model.insert(site, "Not", site.node.input[0])
    return str(site.node.name)


@kind("mask_value_minus_1")
def _mask_value(model: Model, rng: np.random.Generator) -> str | None:
    """Masked attention scores are lowered by one, not to minus infinity."""

    def at(site: Site) -> int | None:
        for index in range(len(site.node.input)):
            value = model.weight(site, index)
            if value is not None and value.size == 1 and float(value.flat[0]) < -1e3:
                return index
        return None

    site = model.pick(rng, "Where", "Mul", "Add", where=lambda site: at(site) is not None)
    index = None if site is None else at(site)
    value = None if site is None or index is None else model.weight(site, index)
    if site is None or index is None or value is None:
        return None
    return model.set_constant(site, index, np.full_like(value, -1))


@kind("not_dropped")
def _not_dropped(model: Model, rng: np.random.Generator) -> str | None:
    site = model.pick(rng, "Not")
    return None if site is None else model.bypass(site)
