"""Mutations of weights: what a converter does that reads, slices, reorders or folds them wrongly."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from benchmarks.detection.mutants.graph import Model, Site, kind

#: Operators with a weight, and the input it is.
_WEIGHT_AT = {"Conv": 1, "ConvTranspose": 1, "Gemm": 1, "MatMul": 1}
_BIAS_AT = {"Conv": 2, "ConvTranspose": 2, "Gemm": 2, "LayerNormalization": 2, "BatchNormalization": 2}


def _layer(model: Model, rng: np.random.Generator, least: int = 4) -> tuple[Site, int, np.ndarray] | None:
    """One convolution or matrix product with a constant weight."""
    site = model.pick(
        rng, *_WEIGHT_AT, where=lambda site: model.weight(site, _WEIGHT_AT[site.op], least=least) is not None
    )
    if site is None:
        return None
    index = _WEIGHT_AT[site.op]
    weight = model.weight(site, index)
    assert weight is not None
    return site, index, weight


def _output_axis(site: Site, weight: np.ndarray) -> int:
    if site.op == "Conv":
        return 0
    if site.op == "Gemm":
        from benchmarks.detection.mutants.graph import attribute

        return 0 if attribute(site.node, "transB", 0) else 1
    return 1 if site.op == "ConvTranspose" else weight.ndim - 1


def _edit(name: str, change: Callable[[np.ndarray, int, np.random.Generator], np.ndarray | None]) -> None:
    """Register a change of one layer's weight: a function of the weight, its output axis and chance."""

    def mutation(model: Model, rng: np.random.Generator) -> str | None:
        found = _layer(model, rng)
        if found is None:
            return None
        site, index, weight = found
        changed = change(weight, _output_axis(site, weight), rng)
        return None if changed is None else model.set_constant(site, index, changed.astype(weight.dtype))

    kind(name)(mutation)


def _plain(name: str, change: Callable[[np.ndarray], np.ndarray | None]) -> None:
    """The same of a change that needs to know no more than the weight."""
    _edit(name, lambda weight, _axis, _rng: change(weight))


def _one_element(weight: np.ndarray, _axis: int, rng: np.random.Generator) -> np.ndarray:
    weight.flat[int(rng.integers(weight.size))] += 4 * float(np.abs(weight).max())
    return weight


def _moved(weight: np.ndarray, axis: int) -> np.ndarray:
    return np.moveaxis(weight, axis, 0)


def _channel_zeroed(weight: np.ndarray, axis: int, rng: np.random.Generator) -> np.ndarray:
    _moved(weight, axis)[int(rng.integers(weight.shape[axis]))] = 0
    return weight


def _channel_negated(weight: np.ndarray, axis: int, rng: np.random.Generator) -> np.ndarray:
    channel = _moved(weight, axis)[int(rng.integers(weight.shape[axis]))]
    channel *= -1
    return weight


def _channels_swapped(weight: np.ndarray, axis: int, rng: np.random.Generator) -> np.ndarray | None:
    if weight.shape[axis] < 2:
        return None
    first, second = rng.choice(weight.shape[axis], 2, replace=False)
    view = _moved(weight, axis)
    view[[first, second]] = view[[second, first]]
    return weight


def _inputs_permuted(weight: np.ndarray, axis: int, _rng: np.random.Generator) -> np.ndarray | None:
    other = 1 - axis if weight.ndim == 2 else (1 if axis == 0 else 0)
    if weight.ndim < 2 or weight.shape[other] < 3:
        return None
    return np.roll(weight, 1, axis=other)


def _square_transposed(weight: np.ndarray, _axis: int, _rng: np.random.Generator) -> np.ndarray | None:
    if weight.ndim < 2 or weight.shape[0] != weight.shape[1]:
        return None
    return np.swapaxes(weight, 0, 1)


def _reshaped_not_transposed(weight: np.ndarray, _axis: int, _rng: np.random.Generator) -> np.ndarray | None:
    if weight.ndim != 2 or weight.shape[0] == weight.shape[1]:
        return None
    return weight.T.reshape(weight.shape)


def _kernel_flipped(weight: np.ndarray, _axis: int, _rng: np.random.Generator) -> np.ndarray | None:
    return weight[..., ::-1, ::-1] if weight.ndim == 4 and weight.shape[-1] > 1 else None


def _kernel_transposed(weight: np.ndarray, _axis: int, _rng: np.random.Generator) -> np.ndarray | None:
    return np.swapaxes(weight, 2, 3) if weight.ndim == 4 and weight.shape[-1] > 1 else None


_edit("weight_one_element", _one_element)
_edit("weight_channel_zeroed", _channel_zeroed)
_edit("weight_channel_negated", _channel_negated)
_edit("weight_channels_swapped", _channels_swapped)
_edit("weight_inputs_rolled", _inputs_permuted)
_edit("weight_square_transposed", _square_transposed)
_edit("weight_reshaped_not_transposed", _reshaped_not_transposed)
_edit("weight_kernel_flipped", _kernel_flipped)
_edit("weight_kernel_transposed", _kernel_transposed)
_plain("weight_negated", lambda weight: -weight)
_plain("weight_scaled_1_01", lambda weight: weight * 1.01)
_plain("weight_scaled_1_1", lambda weight: weight * 1.1)
_plain("weight_scaled_2", lambda weight: weight * 2)
_plain("weight_clipped", lambda weight: np.clip(weight, *np.quantile(weight, [0.02, 0.98])))


@kind("weights_of_two_layers_swapped")
def _weights_swapped(model: Model, rng: np.random.Generator) -> str | None:
    """Query and key projections, or any two layers of one shape, have each other's weights."""
    found = _layer(model, rng)
    if found is None:
        return None
    site, index, weight = found
    for other in model.sites(site.op):
        theirs = model.weight(other, index)
        same = theirs is not None and theirs.shape == weight.shape and not np.array_equal(theirs, weight)
        if other.node.name != site.node.name and theirs is not None and same:
            model.set_constant(other, index, weight)
            return model.set_constant(site, index, theirs)
    return None


def _bias(model: Model, rng: np.random.Generator) -> tuple[Site, int, np.ndarray] | None:
    def at(site: Site) -> int | None:
        if site.op == "Add":  # of a matrix product before it
            for index, name in enumerate(site.node.input):
                value = model.weight(site, index, least=2)
                maker = model.producer(site.node.input[1 - index])
                if name and value is not None and value.ndim == 1 and maker is not None and maker.op == "MatMul":
                    return index
            return None
        return _BIAS_AT[site.op] if model.weight(site, _BIAS_AT[site.op], least=2) is not None else None

    site = model.pick(rng, "Add", *_BIAS_AT, where=lambda site: at(site) is not None)
    if site is None:
        return None
    index = at(site)
    assert index is not None
    bias = model.weight(site, index)
    assert bias is not None
    return site, index, bias


@kind("bias_zeroed")
def _bias_zeroed(model: Model, rng: np.random.Generator) -> str | None:
    found = _bias(model, rng)
    return None if found is None else model.set_constant(found[0], found[1], np.zeros_like(found[2]))


@kind("bias_rolled")
def _bias_rolled(model: Model, rng: np.random.Generator) -> str | None:
    found = _bias(model, rng)
    return None if found is None else model.set_constant(found[0], found[1], np.roll(found[2], 1))


@kind("bias_negated")
def _bias_negated(model: Model, rng: np.random.Generator) -> str | None:
    found = _bias(model, rng)
    return None if found is None else model.set_constant(found[0], found[1], -found[2])


@kind("bias_of_another_layer")
def _bias_of_another(model: Model, rng: np.random.Generator) -> str | None:
    found = _bias(model, rng)
    if found is None:
        return None
    site, index, bias = found
    for other in model.sites(site.op):
        theirs = model.weight(other, index)
        if theirs is not None and theirs.shape == bias.shape and not np.array_equal(theirs, bias):
            return model.set_constant(site, index, theirs)
    return None


@kind("bias_one_element")
def _bias_one(model: Model, rng: np.random.Generator) -> str | None:
    found = _bias(model, rng)
    if found is None:
        return None
    site, index, bias = found
    bias.flat[int(rng.integers(bias.size))] += 0.5
    return model.set_constant(site, index, bias)


def _embedding(model: Model, rng: np.random.Generator) -> tuple[Site, np.ndarray] | None:
    def table(site: Site) -> bool:
        value = model.weight(site, 0, least=64)
        return value is not None and value.ndim == 2

    site = model.pick(rng, "Gather", where=table)
    value = None if site is None else model.weight(site, 0)
    return None if site is None or value is None else (site, value)


@kind("embedding_row_zeroed")
def _row_zeroed(model: Model, rng: np.random.Generator) -> str | None:
    """The row of a padding token, which some frameworks keep at zero."""
    found = _embedding(model, rng)
    if found is None:
        return None
    found[1][0] = 0
    return model.set_constant(found[0], 0, found[1])


@kind("embedding_last_row_lost")
def _last_row(model: Model, rng: np.random.Generator) -> str | None:
    found = _embedding(model, rng)
    if found is None:
        return None
    found[1][-1] = found[1][-2]
    return model.set_constant(found[0], 0, found[1])


@kind("embedding_shifted_by_one")
def _shifted(model: Model, rng: np.random.Generator) -> str | None:
    found = _embedding(model, rng)
    return None if found is None else model.set_constant(found[0], 0, np.roll(found[1], 1, axis=0))


@kind("norm_scale_ones")
def _norm_scale(model: Model, rng: np.random.Generator) -> str | None:
    site = model.pick(
        rng, "LayerNormalization", "BatchNormalization", where=lambda site: model.weight(site, 1) is not None
    )
    if site is None:
        return None
    scale = model.weight(site, 1)
    assert scale is not None
    return model.set_constant(site, 1, np.ones_like(scale))


@kind("batchnorm_mean_zeroed")
def _bn_mean(model: Model, rng: np.random.Generator) -> str | None:
    site = model.pick(rng, "BatchNormalization", where=lambda site: model.weight(site, 3) is not None)
    mean = None if site is None else model.weight(site, 3)
    return None if site is None or mean is None else model.set_constant(site, 3, np.zeros_like(mean))


@kind("batchnorm_variance_is_deviation")
def _bn_variance(model: Model, rng: np.random.Generator) -> str | None:
    site = model.pick(rng, "BatchNormalization", where=lambda site: model.weight(site, 4) is not None)
    variance = None if site is None else model.weight(site, 4)
    return None if site is None or variance is None else model.set_constant(site, 4, np.sqrt(variance))


def _recurrent(name: str, op: str, change: Callable[[np.ndarray], np.ndarray], index: int) -> None:
    def mutation(model: Model, rng: np.random.Generator) -> str | None:
        site = model.pick(rng, op, where=lambda site: model.weight(site, index, least=2) is not None)
        value = None if site is None else model.weight(site, index)
        return None if site is None or value is None else model.set_constant(site, index, change(value))

    kind(name)(mutation)


def _gates(value: np.ndarray, count: int, order: tuple[int, ...]) -> np.ndarray:
    """Reorder the gates, which lie one after the other along axis 1."""
    parts = np.split(value, count, axis=1)
    return np.concatenate([parts[index] for index in order], axis=1)


_recurrent("lstm_gates_ifco", "LSTM", lambda value: _gates(value, 4, (0, 2, 1, 3)), 1)
_recurrent("lstm_recurrent_gates_swapped", "LSTM", lambda value: _gates(value, 4, (2, 1, 0, 3)), 2)
_recurrent("lstm_forget_bias_plus_1", "LSTM", lambda value: value + _third_gate(value), 3)
_recurrent("lstm_directions_swapped", "LSTM", lambda value: value[::-1], 1)
_recurrent("gru_gates_swapped", "GRU", lambda value: _gates(value, 3, (1, 0, 2)), 1)


def _third_gate(value: np.ndarray) -> np.ndarray:
    """Ones at the forget gate's input bias, as Keras adds under ``unit_forget_bias``."""
    extra = np.zeros_like(value)
    width = value.shape[1] // 8
    extra[:, 2 * width : 3 * width] = 1
    return extra


@kind("recurrent_weights_halved")
def _recurrent_halved(model: Model, rng: np.random.Generator) -> str | None:
    site = model.pick(rng, "LSTM", "GRU", where=lambda site: model.weight(site, 2) is not None)
    value = None if site is None else model.weight(site, 2)
    return None if site is None or value is None else model.set_constant(site, 2, value * np.float32(0.5))
