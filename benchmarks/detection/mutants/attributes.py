"""Mutations of attributes: axes, epsilons, pads, strides, modes, and what later opsets made inputs of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.detection.mutants.graph import KINDS, Model, Site, attribute, kind, set_attribute


def _set(
    name: str,
    ops: tuple[str, ...],
    key: str,
    value: Any,
    default: Any = None,
    where: Callable[[Model, Site], Any] | None = None,
) -> None:
    """Register: an attribute of one node of these operators gets another value, given or made from the present one."""

    def mutation(model: Model, rng: np.random.Generator) -> str | None:
        def changed(site: Site) -> Any:
            present = attribute(site.node, key, default)
            if present is None or (where is not None and not where(model, site)):
                return None
            new = value(present) if callable(value) else value
            return None if new == present else new

        site = model.pick(rng, *ops, where=lambda site: changed(site) is not None)
        return None if site is None else set_attribute(site.node, key, changed(site))

    assert name not in KINDS, name
    KINDS[name] = mutation


def _first_changed(change: Callable[[int], int], *, index: int = 0) -> Callable[[list[int]], list[int]]:
    return lambda values: [*values[:index], change(values[index]), *values[index + 1 :]]


def _swap_axis(model: Model, site: Site) -> bool:
    rank = model.rank(site.node.input[0])
    return rank is not None and rank >= 2


def _axis_before(axis: int) -> int:
    return axis - 1 if axis < 0 or axis > 0 else axis + 1


_set("softmax_axis", ("Softmax", "LogSoftmax"), "axis", _axis_before, -1, _swap_axis)
_set("concat_axis", ("Concat",), "axis", _axis_before, None, lambda m, s: (m.rank(s.node.output[0]) or 0) >= 2)
_set("gather_axis", ("Gather",), "axis", lambda axis: 1 - axis if axis in (0, 1) else axis - 1, 0, _swap_axis)
_set("split_axis", ("Split",), "axis", _axis_before, 0, _swap_axis)
_set("argmax_axis", ("ArgMax", "ArgMin"), "axis", _axis_before, 0, _swap_axis)
_set("argmax_last_index", ("ArgMax", "ArgMin"), "select_last_index", lambda value: 1 - value, 0)
_set("topk_smallest", ("TopK",), "largest", lambda value: 1 - value, 1)
_set("layernorm_epsilon_1e-2", ("LayerNormalization",), "epsilon", 1e-2, 1e-5)
_set("layernorm_epsilon_1e-3", ("LayerNormalization",), "epsilon", 1e-3, 1e-5)
_set(
    "layernorm_epsilon_0",
    ("LayerNormalization",),
    "epsilon",
    1e-12,
    1e-5,
    lambda _, s: attribute(s.node, "epsilon", 1e-5) > 2e-12,
)
_set("batchnorm_epsilon_1e-2", ("BatchNormalization",), "epsilon", 1e-2, 1e-5)
_set("batchnorm_epsilon_1e-3", ("BatchNormalization",), "epsilon", 1e-3, 1e-5)
_set("gemm_alpha", ("Gemm",), "alpha", lambda alpha: alpha * 1.5, 1.0)
_set("gemm_beta", ("Gemm",), "beta", 0.5, 1.0, lambda _, s: len(s.node.input) > 2)
_set(
    "pads_shifted",
    ("Conv", "MaxPool", "AveragePool"),
    "pads",
    lambda p: [p[0] - 1, p[1], p[2] + 1, *p[3:]] if len(p) == 4 and p[0] else None,
)
_set(
    "pads_one_side",
    ("Conv", "MaxPool", "AveragePool"),
    "pads",
    lambda p: [p[0] + 1, p[1], p[2] - 1, *p[3:]] if len(p) == 4 and p[2] else None,
)
_set("strides_1", ("Conv", "MaxPool"), "strides", lambda strides: [1] * len(strides))
_set(
    "dilations_2",
    ("Conv",),
    "dilations",
    lambda d: [2] * len(d) if set(d) == {1} else None,
    None,
    lambda _, s: (attribute(s.node, "kernel_shape") or [1])[0] == 3,
)
_set("ceil_mode", ("MaxPool", "AveragePool"), "ceil_mode", lambda value: 1 - value, 0)
_set("count_include_pad", ("AveragePool",), "count_include_pad", lambda value: 1 - value, 0)
_set("layernorm_axis", ("LayerNormalization",), "axis", -2, -1)
_set("gelu_approximate", ("Gelu",), "approximate", lambda value: b"none" if value == b"tanh" else b"tanh", b"none")
_set("leaky_slope", ("LeakyRelu",), "alpha", 0.02, 0.01)
_set("elu_alpha", ("Elu",), "alpha", 0.5, 1.0)
_set(
    "resize_half_pixel",
    ("Resize",),
    "coordinate_transformation_mode",
    lambda v: b"asymmetric" if v != b"asymmetric" else b"half_pixel",
    b"half_pixel",
)
_set("resize_align_corners", ("Resize",), "coordinate_transformation_mode", b"align_corners", b"half_pixel")
_set("resize_mode", ("Resize",), "mode", lambda value: b"nearest" if value != b"nearest" else b"linear", b"nearest")
_set(
    "resize_nearest_mode",
    ("Resize",),
    "nearest_mode",
    lambda v: b"ceil" if v != b"ceil" else b"floor",
    b"round_prefer_floor",
    lambda _, s: attribute(s.node, "mode", b"nearest") == b"nearest",
)
_set("gru_reset_order", ("GRU",), "linear_before_reset", lambda value: 1 - value, 0)
_set(
    "recurrent_reversed",
    ("LSTM", "GRU", "RNN"),
    "direction",
    lambda v: b"reverse" if v == b"forward" else None,
    b"forward",
)
_set(
    "scatter_reduction",
    ("ScatterElements", "ScatterND"),
    "reduction",
    lambda v: b"none" if v != b"none" else b"add",
    b"none",
)
_set("cumsum_exclusive", ("CumSum",), "exclusive", lambda value: 1 - value, 0)
_set("cumsum_reverse", ("CumSum",), "reverse", lambda value: 1 - value, 0)
_set("trilu_upper", ("Trilu",), "upper", lambda value: 1 - value, 1)


@kind("hidden_activation")
def _activation(model: Model, rng: np.random.Generator) -> str | None:
    """Keras' hard sigmoid in place of the sigmoid of an LSTM."""
    site = model.pick(rng, "LSTM", "GRU")
    if site is None:
        return None
    directions = 2 if attribute(site.node, "direction", b"forward") == b"bidirectional" else 1
    names = ["HardSigmoid", "Tanh", "Tanh"] if site.op == "LSTM" else ["HardSigmoid", "Tanh"]
    return set_attribute(site.node, "activations", names * directions)


@kind("transpose_perm")
def _perm(model: Model, rng: np.random.Generator) -> str | None:
    """Two of the axes come out in the other order."""
    site = model.pick(rng, "Transpose", where=lambda site: len(attribute(site.node, "perm", [])) >= 3)
    if site is None:
        return None
    perm = list(attribute(site.node, "perm"))
    first = int(rng.integers(len(perm) - 1))
    perm[first], perm[first + 1] = perm[first + 1], perm[first]
    return set_attribute(site.node, "perm", perm)


@kind("gemm_transposed_operand")
def _transposed(model: Model, rng: np.random.Generator) -> str | None:
    """``transB`` flips where the weight is square, so that the shapes still fit."""

    def square(site: Site) -> bool:
        weight = model.weight(site, 1)
        return weight is not None and weight.ndim == 2 and weight.shape[0] == weight.shape[1]

    site = model.pick(rng, "Gemm", where=square)
    return None if site is None else set_attribute(site.node, "transB", 1 - attribute(site.node, "transB", 0))


@kind("groups_merged")
def _groups(model: Model, rng: np.random.Generator) -> str | None:
    """Depthwise becomes one filter for a group of two: half the groups, each weight repeated for both inputs."""
    site = model.pick(rng, "Conv", where=lambda site: attribute(site.node, "group", 1) >= 2)
    weight = None if site is None else model.weight(site, 1)
    if site is None or weight is None or attribute(site.node, "group") % 2:
        return None
    set_attribute(site.node, "group", attribute(site.node, "group") // 2)
    return model.set_constant(site, 1, np.concatenate([weight, weight], axis=1) / 2)


@kind("reduce_axes")
def _axes(model: Model, rng: np.random.Generator) -> str | None:
    """A reduction over the axis before, keeping the rank."""

    def axes(site: Site) -> Any:
        found = attribute(site.node, "axes")
        if found is None and len(site.node.input) > 1:
            constant = model.constant(site.node.input[1])
            found = None if constant is None else constant.tolist()
        single = isinstance(found, list) and len(found) == 1 and (model.rank(site.node.input[0]) or 0) >= 2
        return found if single else None

    site = model.pick(rng, "ReduceMean", "ReduceSum", "ReduceMax", "ReduceL2", where=axes)
    if site is None:
        return None
    axis = axes(site)[0]
    changed = _axis_before(axis)
    if attribute(site.node, "axes") is not None:
        return set_attribute(site.node, "axes", [changed])
    return model.set_constant(site, 1, np.array([changed], np.int64))


@kind("clip_bound")
def _clip(model: Model, rng: np.random.Generator) -> str | None:
    """ReLU6 clips at 7, or whatever the bound was plus one."""
    site = model.pick(rng, "Clip", where=lambda site: model.weight(site, 2) is not None)
    bound = None if site is None else model.weight(site, 2)
    return None if site is None or bound is None else model.set_constant(site, 2, bound + np.asarray(1, bound.dtype))


@kind("power_exponent")
def _power(model: Model, rng: np.random.Generator) -> str | None:
    site = model.pick(rng, "Pow", where=lambda site: model.weight(site, 1) is not None)
    exponent = None if site is None else model.weight(site, 1)
    return None if site is None or exponent is None else model.set_constant(site, 1, exponent - np.float32(1))


@kind("scalar_constant_1_percent")
def _scalar(model: Model, rng: np.random.Generator) -> str | None:
    """A constant of the formula is a little off: a rounded square root, a shortened pi."""

    def lone(site: Site) -> bool:
        value = model.weight(site, 1)
        return value is not None and value.size == 1 and bool(np.isfinite(value).all()) and abs(value.flat[0]) > 1e-3

    site = model.pick(rng, "Mul", "Div", "Add", "Sub", "Pow", where=lone)
    value = None if site is None else model.weight(site, 1)
    return None if site is None or value is None else model.set_constant(site, 1, value * np.float32(1.01))


@kind("max_floor_of_norm")
def _floor_of_norm(model: Model, rng: np.random.Generator) -> str | None:
    """The epsilon under a square root or a norm grows from 1e-12 to 1e-3."""

    def small(site: Site) -> int | None:
        values = [(index, model.weight(site, index)) for index in range(len(site.node.input))]
        tiny = (i for i, value in values if value is not None and value.size == 1 and 0 < float(value.flat[0]) < 1e-3)
        return next(tiny, None)

    site = model.pick(rng, "Max", "Add", "Clip", where=lambda site: small(site) is not None)
    index = None if site is None else small(site)
    value = None if site is None or index is None else model.weight(site, index)
    if site is None or index is None or value is None:
        return None
    return model.set_constant(site, index, np.full_like(value, 1e-3))


@kind("topk_one_less")
def _topk(model: Model, rng: np.random.Generator) -> str | None:
    """``k`` of TopK, one less: one answer is missing."""
    site = model.pick(rng, "TopK", where=lambda site: model.constant(site.node.input[1]) is not None)
    value = None if site is None else model.constant(site.node.input[1])
    if site is None or value is None or int(value.flat[0]) < 2:
        return None
    return model.set_constant(site, 1, value - 1)
