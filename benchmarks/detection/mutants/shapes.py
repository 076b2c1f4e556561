"""Mutations of shapes and positions: sizes baked at the traced size, bounds and indices off by one."""

from __future__ import annotations

import numpy as np

from benchmarks.detection.mutants.graph import Model, Site, attribute, kind, set_attribute


def _computed(model: Model, site: Site, index: int) -> bool:
    """Whether an input is there and no constant."""
    present = len(site.node.input) > index and bool(site.node.input[index])
    return present and model.constant(site.node.input[index]) is None


def _baked(model: Model, site: Site, index: int) -> str | None:
    """Give a node the value that its input has at the traced sizes."""
    value = model.traced(site.node.input[index]) if site.graph is model.proto.graph else None
    return None if value is None or value.dtype.kind != "i" else model.set_constant(site, index, value)


def _bake(name: str, op: str, index: int) -> None:
    def mutation(model: Model, rng: np.random.Generator) -> str | None:
        site = model.pick(rng, op, where=lambda site: _computed(model, site, index))
        return None if site is None else _baked(model, site, index)

    kind(name)(mutation)


_bake("reshape_baked", "Reshape", 1)
_bake("expand_baked", "Expand", 1)
_bake("constant_of_shape_baked", "ConstantOfShape", 0)
_bake("slice_end_baked", "Slice", 2)
_bake("tile_baked", "Tile", 1)


@kind("shape_baked")
def _shape(model: Model, rng: np.random.Generator) -> str | None:
    """What ``int(x.shape[0])`` in a traced model does: a Shape node turns into a constant."""
    site = model.pick(rng, "Shape", where=lambda site: site.graph is model.proto.graph)
    value = None if site is None else model.traced(site.node.output[0])
    if site is None or value is None:
        return None
    users = model.users(site.node.output[0])
    if not users or model.is_output(site.node.output[0]):
        return None
    name = model.add_constant(site, value)
    for user in users:
        for index, source in enumerate(user.node.input):
            if source == site.node.output[0]:
                user.node.input[index] = name
    site.graph.node.remove(site.node)
    return str(users[0].node.name)


@kind("concat_of_sizes_baked")
def _sizes(model: Model, rng: np.random.Generator) -> str | None:
    """One entry of a target shape is a constant."""

    def entry(site: Site) -> int | None:
        sizes = all(model.rank(name) == 1 for name in site.node.input) and not model.is_float(site.node.output[0])
        found = [index for index in range(len(site.node.input)) if sizes and _computed(model, site, index)]
        return found[0] if found else None

    site = model.pick(rng, "Concat", where=lambda site: entry(site) is not None)
    index = None if site is None else entry(site)
    return None if site is None or index is None else _baked(model, site, index)


@kind("reshape_infers_another_axis")
def _inferred(model: Model, rng: np.random.Generator) -> str | None:
    """The -1 of a constant target shape changes places with its neighbour's size."""

    def target(site: Site) -> np.ndarray | None:
        value = model.constant(site.node.input[1])
        return value if value is not None and value.size >= 2 and -1 in value and value[value != -1].min() > 0 else None

    site = model.pick(rng, "Reshape", where=lambda site: target(site) is not None)
    shape = None if site is None else target(site)
    if site is None or shape is None:
        return None
    at = int(np.flatnonzero(shape == -1)[0])
    other = at - 1 if at else 1
    shape = shape.copy()
    shape[at], shape[other] = shape[other], shape[at]
    return model.set_constant(site, 1, shape)


def _whole_number(model: Model, site: Site, index: int) -> np.ndarray | None:
    """A constant integer input of one element."""
    value = model.constant(site.node.input[index]) if len(site.node.input) > index else None
    return value if value is not None and value.dtype.kind == "i" and value.size == 1 else None


def _off_by_one(name: str, op: str, inputs: tuple[int, ...], step: int, *, floats: bool = False) -> None:
    """Register: constant bounds or indices of a node move by one, together."""

    def mutation(model: Model, rng: np.random.Generator) -> str | None:
        def fits(site: Site) -> bool:
            values = [_whole_number(model, site, index) for index in inputs]
            inside = all(value is not None and 0 <= int(value.flat[0]) + step < 2**31 - 2 for value in values)
            return inside and (not floats or model.is_float(site.node.input[0]))

        site = model.pick(rng, op, where=fits)
        if site is None:
            return None
        for index in inputs:
            value = _whole_number(model, site, index)
            assert value is not None
            model.set_constant(site, index, np.asarray(value + step, value.dtype))
        return str(site.node.name)

    kind(name)(mutation)


_off_by_one("slice_start_plus_1", "Slice", (1,), 1)
_off_by_one("slice_end_minus_1", "Slice", (2,), -1)
_off_by_one("slice_end_plus_1", "Slice", (2,), 1)
_off_by_one("slice_window_later", "Slice", (1, 2), 1, floats=True)
_off_by_one("slice_window_earlier", "Slice", (1, 2), -1, floats=True)
_off_by_one("gather_index_plus_1", "Gather", (1,), 1, floats=True)
_off_by_one("gather_index_minus_1", "Gather", (1,), -1, floats=True)
_off_by_one("gather_size_of_next_axis", "Gather", (1,), 1)
_off_by_one("range_start_plus_1", "Range", (0,), 1)


@kind("token_plus_1")
def _token(model: Model, rng: np.random.Generator) -> str | None:
    """Ids are looked up one further on, the last one at the first row."""

    def table(site: Site) -> bool:
        computed = model.constant(site.node.input[1]) is None and model.dtype(site.node.input[1]) in (6, 7)
        return computed and model.weight(site, 0, least=64) is not None

    site = model.pick(rng, "Gather", where=table)
    if site is None:
        return None
    weight = model.weight(site, 0)
    assert weight is not None
    dtype = np.int32 if model.dtype(site.node.input[1]) == 6 else np.int64
    later = model.insert(site, "Add", site.node.input[1], inputs=[model.add_constant(site, np.array(1, dtype))])
    rows = model.add_constant(site, np.array(weight.shape[0], dtype))
    site.node.input[1] = model.insert(site, "Mod", later, inputs=[rows])
    return str(site.node.name)


@kind("position_shifted_by_one")
def _positions(model: Model, rng: np.random.Generator) -> str | None:
    """Positions count from one, as those of RoBERTa do from two."""
    site = model.pick(rng, "Range")
    if site is None or model.is_float(site.node.output[0]):
        return None
    return model.insert_after(site, "Add", inputs=[model.add_constant(site, np.array(1, np.int64))])


@kind("range_step")
def _step(model: Model, rng: np.random.Generator) -> str | None:
    """Counts in steps of two, up to twice the limit: as many numbers as before."""
    site = model.pick(rng, "Range", where=lambda site: model.constant(site.node.input[2]) is not None)
    step = None if site is None else model.constant(site.node.input[2])
    if site is None or step is None:
        return None
    return model.insert_after(site, "Mul", inputs=[model.add_constant(site, np.asarray(step * 2))])


@kind("constant_of_shape_value")
def _filled(model: Model, rng: np.random.Generator) -> str | None:
    """Zeros for ones, ones for zeros."""
    import onnx

    site = model.pick(rng, "ConstantOfShape")
    if site is None:
        return None
    value = attribute(site.node, "value")
    array = np.zeros(1, np.float32) if value is None else onnx.numpy_helper.to_array(value)
    changed = np.ones_like(array) if not array.any() else np.zeros_like(array)
    return set_attribute(site.node, "value", onnx.numpy_helper.from_array(changed))


@kind("concat_order")
def _order(model: Model, rng: np.random.Generator) -> str | None:
    """The first two parts change places."""
    site = model.pick(rng, "Concat", where=lambda s: len(s.node.input) >= 2 and s.node.input[0] != s.node.input[1])
    if site is None:
        return None
    first, second = site.node.input[:2]
    site.node.input[0], site.node.input[1] = second, first
    return str(site.node.name)


@kind("split_outputs_swapped")
def _split_outputs(model: Model, rng: np.random.Generator) -> str | None:
    """Query and key, or gate and candidate, change places."""
    site = model.pick(rng, "Split", where=lambda site: len(site.node.output) >= 2)
    if site is None:
        return None
    first, second = site.node.output[:2]
    site.node.output[0], site.node.output[1] = second, first
    return str(site.node.name)


@kind("first_row_for_all")
def _first_row(model: Model, rng: np.random.Generator) -> str | None:
    """The first of the batch is handed on for all of it."""
    site = model.pick(rng, "MatMul", "Gemm", "Relu", "Softmax", where=lambda s: (model.rank(s.node.input[0]) or 0) >= 2)
    if site is None:
        return None
    source = site.node.input[0]
    bounds = [model.add_constant(site, np.array([value], np.int64)) for value in (0, 1, 0)]
    first = model.insert(site, "Slice", source, inputs=bounds)
    site.node.input[0] = model.insert(site, "Expand", first, inputs=[model.insert(site, "Shape", source)])
    return str(site.node.name)


@kind("transposed_by_reshape")
def _by_reshape(model: Model, rng: np.random.Generator) -> str | None:
    """A Transpose turns into a Reshape to the same shape."""
    site = model.pick(rng, "Transpose", where=lambda site: model.constant(site.node.input[0]) is None)
    if site is None:
        return None
    source, output, perm = site.node.input[0], site.node.output[0], attribute(site.node, "perm")
    if not perm:
        return None
    order = model.add_constant(site, np.array(perm, np.int64))
    shape = model.insert(site, "Gather", model.insert(site, "Shape", source), inputs=[order])
    del site.node.attribute[:]
    site.node.op_type = "Reshape"
    site.node.input.append(shape)
    assert site.node.output[0] == output
    return str(site.node.name)
