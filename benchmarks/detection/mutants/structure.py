"""Mutations of structure and of precision: nodes dropped, operands swapped, values rounded on the way."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from benchmarks.detection.mutants.graph import KINDS, Model, Site, kind


def _drop(name: str, *ops: str, where: Callable[[Model, Site], bool] | None = None) -> None:
    """Register: a node is left out, its first input goes where its output went."""

    def mutation(model: Model, rng: np.random.Generator) -> str | None:
        def fits(site: Site) -> bool:
            free = not model.is_output(site.node.output[0]) and model.users(site.node.output[0])
            return bool(free) and (where is None or where(model, site))

        site = model.pick(rng, *ops, where=fits)
        return None if site is None else model.bypass(site)

    assert name not in KINDS, name
    KINDS[name] = mutation


_drop("activation_dropped", "Relu", "Clip", "Gelu", "Tanh", "LeakyRelu", "Elu", "Sigmoid")
_drop("softmax_dropped", "Softmax")
_drop("norm_dropped", "LayerNormalization", "BatchNormalization")
_drop(
    "scaling_dropped",
    "Mul",
    "Div",
    where=lambda m, s: m.is_float(s.node.input[0]) and m.weight(s, 1) is not None and m.weight(s, 1).size == 1,
)  # type: ignore[union-attr]
_drop("bias_add_dropped", "Add", where=lambda m, s: m.constant(s.node.input[0]) is None and m.weight(s, 1) is not None)
_drop("square_root_dropped", "Sqrt")
_drop("floor_dropped", "Floor", "Round", "Ceil")
_drop("reciprocal_dropped", "Reciprocal")
_drop("square_transpose_dropped", "Transpose", where=lambda m, s: m.constant(s.node.input[0]) is None)


def _residual(model: Model, site: Site) -> bool:
    """An addition of two computed tensors of one shape."""
    names = site.node.input
    both = all(model.constant(name) is None and (model.rank(name) or 0) >= 3 for name in names)
    return both and names[0] != names[1] and model.is_float(names[0])


@kind("residual_dropped")
def _residual_dropped(model: Model, rng: np.random.Generator) -> str | None:
    """A skip connection is forgotten: only the first summand is left."""
    site = model.pick(rng, "Add", where=lambda site: _residual(model, site))
    return None if site is None else model.bypass(site, int(rng.integers(2)))


@kind("residual_doubled")
def _residual_doubled(model: Model, rng: np.random.Generator) -> str | None:
    """A branch is added twice."""
    site = model.pick(rng, "Add", where=lambda site: _residual(model, site))
    if site is None:
        return None
    output = site.node.output[0]
    name = model.insert_after(site, "Add", inputs=[site.node.input[1]])
    assert model.producer(output) is not None
    return name


@kind("operands_swapped")
def _operands(model: Model, rng: np.random.Generator) -> str | None:
    """The operands of a subtraction, a division, a comparison or the branches of a Where change places."""

    def fits(site: Site) -> bool:
        integers = site.op in ("Div", "Pow") and not model.is_float(site.node.input[0])
        return len(set(site.node.input)) == len(site.node.input) and not integers

    site = model.pick(rng, "Sub", "Div", "Less", "Greater", "LessOrEqual", "GreaterOrEqual", "Pow", where=fits)
    if site is None:
        return None
    first, second = site.node.input
    site.node.input[0], site.node.input[1] = second, first
    return str(site.node.name)


@kind("branches_swapped")
def _branches(model: Model, rng: np.random.Generator) -> str | None:
    site = model.pick(rng, "Where")
    if site is None:
        return None
    condition, yes, no = site.node.input
    del site.node.input[:]
    site.node.input.extend([condition, no, yes])
    return str(site.node.name)


@kind("outputs_swapped")
def _outputs(model: Model, rng: np.random.Generator) -> str | None:
    """Two outputs of one type have each other's values: their makers trade the names."""
    graph = model.proto.graph

    def described(value: object) -> tuple[object, ...]:
        kind_of = value.type.tensor_type  # type: ignore[attr-defined]
        return kind_of.elem_type, len(kind_of.shape.dim)

    pairs = [
        (a.name, b.name)
        for i, a in enumerate(graph.output)
        for b in list(graph.output)[i + 1 :]
        if described(a) == described(b)
    ]
    if not pairs:
        return None
    first, second = pairs[int(rng.integers(len(pairs)))]
    makers = model.producer(first), model.producer(second)
    if makers[0] is None or makers[1] is None:
        return None
    other = {first: second, second: first}
    for node in graph.node:
        node.input[:] = [other.get(name, name) for name in node.input]
        node.output[:] = [other.get(name, name) for name in node.output]
    return str(makers[0].node.name)


@kind("scores_transposed")
def _scores(model: Model, rng: np.random.Generator) -> str | None:
    """The product of two computed tensors, such as query and key, comes out transposed."""
    site = model.pick(rng, "MatMul", where=lambda site: all(model.constant(name) is None for name in site.node.input))
    rank = None if site is None else model.rank(site.node.output[0])
    if site is None or rank is None or rank < 2:
        return None
    return model.insert_after(site, "Transpose", perm=[*range(rank - 2), rank - 1, rank - 2])


@kind("scaled_twice")
def _scaled_twice(model: Model, rng: np.random.Generator) -> str | None:
    """The scaling of attention scores, or any other constant factor, is applied again."""

    def fits(site: Site) -> bool:
        factor = model.weight(site, 1)
        return factor is not None and factor.size == 1 and float(factor.flat[0]) not in (0.0, 1.0)

    site = model.pick(rng, "Mul", "Div", where=lambda site: fits(site) and model.is_float(site.node.input[0]))
    return None if site is None else model.insert_after(site, site.op, inputs=[site.node.input[1]])


_COMPUTE = ("Conv", "MatMul", "Gemm", "Relu", "LayerNormalization", "Softmax", "LSTM", "Add", "Mul")


def _through(name: str, code: int) -> None:
    """Register: the result of a node passes through another dtype."""

    def mutation(model: Model, rng: np.random.Generator) -> str | None:
        site = model.pick(rng, *_COMPUTE, where=lambda site: model.is_float(site.node.output[0]))
        if site is None:
            return None
        model.insert_after(site, "Cast", to=1)
        return model.insert_after(site, "Cast", to=code)

    kind(name)(mutation)


_through("through_float16", 10)
_through("through_bfloat16", 16)
_through("through_int32", 6)


@kind("indices_through_float16")
def _indices(model: Model, rng: np.random.Generator) -> str | None:
    """Token ids above 2048 lose their last bits, ids below survive: an int8 cast stands for it here."""
    site = model.pick(rng, "Gather", where=lambda site: model.constant(site.node.input[1]) is None)
    if site is None:
        return None
    wide = model.dtype(site.node.input[1])
    if wide not in (6, 7):
        return None
    narrow = model.insert(site, "Cast", site.node.input[1], to=3)
    site.node.input[1] = model.insert(site, "Cast", narrow, to=wide)
    return str(site.node.name)


def _rounded(name: str, change: Callable[[np.ndarray], np.ndarray]) -> None:
    """Register: a weight loses bits."""

    def mutation(model: Model, rng: np.random.Generator) -> str | None:
        def at(site: Site) -> bool:
            weight = model.weight(site, 1, least=16)
            return weight is not None

        site = model.pick(rng, "Conv", "MatMul", "Gemm", "ConvTranspose", "LSTM", "GRU", where=at)
        weight = None if site is None else model.weight(site, 1)
        return None if site is None or weight is None else model.set_constant(site, 1, change(weight))

    kind(name)(mutation)


def _int8(weight: np.ndarray) -> np.ndarray:
    scale = np.abs(weight).max() / 127
    return (np.round(weight / scale) * scale).astype(weight.dtype)


def _bfloat16(weight: np.ndarray) -> np.ndarray:
    bits = np.ascontiguousarray(weight.astype(np.float32)).view(np.uint32) & np.uint32(0xFFFF0000)
    return bits.view(np.float32).astype(weight.dtype)


_rounded("weight_int8", _int8)
_rounded("weight_bfloat16", _bfloat16)
_rounded("weight_float16", lambda weight: weight.astype(np.float16).astype(weight.dtype))
_rounded("weight_two_decimals", lambda weight: np.round(weight, 2))
