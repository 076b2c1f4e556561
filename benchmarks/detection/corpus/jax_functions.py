"""JAX functions and modules through jax2onnx: indices at the ends of their range, pictures, rounding, masks."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.detection.case import Case
from pytest_onnxprep import TensorSpec

if TYPE_CHECKING:
    import jax
    import onnx


def build_one_hot() -> Callable[[jax.Array], jax.Array]:
    """Labels to rows; -1 stands for unknown and is a row of zeros."""
    import jax

    return lambda label: jax.nn.one_hot(label, 4)


def build_shrunk() -> Callable[[jax.Array], jax.Array]:
    """A picture at half its size, by the pixels that are nearest."""
    import jax

    def shrunk(image: jax.Array) -> jax.Array:
        return jax.image.resize(image, (*image.shape[:1], 4, 4, 3), "nearest")

    return shrunk


def build_grown() -> Callable[[jax.Array], jax.Array]:
    """The same to twice its size, where every way of rounding agrees."""
    import jax

    def grown(image: jax.Array) -> jax.Array:
        return jax.image.resize(image, (*image.shape[:1], 16, 16, 3), "nearest")

    return grown


def build_enlarged(method: str) -> Callable[[jax.Array], jax.Array]:
    """A picture enlarged smoothly."""
    import jax

    def enlarged(image: jax.Array) -> jax.Array:
        return jax.image.resize(image, (*image.shape[:1], 10, 10, 2), method, antialias=False)

    return enlarged


def build_enlarged_cubic() -> Callable[[jax.Array], jax.Array]:
    """By the cubic kernel."""
    return build_enlarged("cubic")


def build_enlarged_linear() -> Callable[[jax.Array], jax.Array]:
    """By the linear kernel."""
    return build_enlarged("linear")


def build_levels() -> Callable[[jax.Array], jax.Array]:
    """Halves of a level rounded away from zero, as `lax.round` does unless told otherwise."""
    import jax

    return lambda halves: jax.lax.round(halves.astype("float32") / 2)


def build_levels_even() -> Callable[[jax.Array], jax.Array]:
    """The same, rounded to the even one of two levels, as `jnp.round` does."""
    import jax.numpy as jnp

    return lambda halves: jnp.round(halves.astype("float32") / 2)


def build_window() -> Callable[[jax.Array, jax.Array], jax.Array]:
    """Three samples from a start that JAX moves back until they fit."""
    import jax

    return lambda signal, start: jax.lax.dynamic_slice(signal, (start,), (3,))


def build_row() -> Callable[[jax.Array, jax.Array], jax.Array]:
    """One row of a table; JAX takes the last one for every index beyond it."""
    import jax

    return lambda table, index: jax.lax.dynamic_index_in_dim(table, index, 0)


def build_lookup() -> Callable[[jax.Array], jax.Array]:
    """Embeddings of ten tokens; the ones beyond fall on the last row, as JAX documents."""
    import jax.numpy as jnp

    table = jnp.asarray(np.random.default_rng(0).normal(size=(10, 4)).astype("float32"))
    return lambda token: table[token]


def build_angle() -> Callable[[jax.Array, jax.Array], jax.Array]:
    """Direction of a vector; below the negative half of the x axis it is -pi, the sign of zero decides."""
    import jax.numpy as jnp

    return lambda y, x: jnp.arctan2(y, x)


def build_peak() -> Callable[[jax.Array], jax.Array]:
    """The largest of each row; a missing value makes it missing."""
    import jax.numpy as jnp

    return lambda x: jnp.max(x, axis=1)


def build_total() -> Callable[[jax.Array], jax.Array]:
    """The sum of each row; a missing value makes it missing."""
    import jax.numpy as jnp

    return lambda x: jnp.sum(x, axis=1)


def build_attention() -> Callable[[jax.Array, jax.Array], jax.Array]:
    """Flax's attention; a query whose keys are all masked attends to all of them alike."""
    from flax import nnx

    attention = nnx.MultiHeadAttention(2, 8, 8, decode=False, rngs=nnx.Rngs(0))
    return lambda x, mask: attention(x, mask=mask[:, None, None, :])


def build_attention_to_itself() -> Callable[[jax.Array, jax.Array], jax.Array]:
    """The same where every query sees at least itself."""
    import jax.numpy as jnp
    from flax import nnx

    attention = nnx.MultiHeadAttention(2, 8, 8, decode=False, rngs=nnx.Rngs(0))
    itself = jnp.asarray(np.eye(5, dtype=bool))
    return lambda x, mask: attention(x, mask=jnp.logical_or(mask[:, None, None, :], itself))


def build_backwards() -> Callable[[jax.Array], jax.Array]:
    """A sequence from its end to its start."""
    import jax.numpy as jnp

    return lambda x: jnp.tanh(jnp.flip(x, 0))


def reversed_by_a_falling_range(model: onnx.ModelProto) -> onnx.ModelProto:
    """Indices counted down by a Range whose limit is 0 and not -1: the first element is lost."""
    import onnx

    node = next(node for node in model.graph.node if node.op_type == "Gather" and node.input[0] == "x")
    helper, tensor = onnx.helper, onnx.TensorProto.INT64
    names = {"minus_one": -1, "one": 1, "zero": 0}
    for name, value in names.items():
        model.graph.initializer.append(helper.make_tensor(f"old_{name}", tensor, [], [value]))
    model.graph.initializer.append(helper.make_tensor("old_axis", tensor, [], [0]))
    before = [
        helper.make_node("Shape", ["x"], ["old_shape"]),
        helper.make_node("Gather", ["old_shape", "old_axis"], ["old_length"]),
        helper.make_node("Sub", ["old_length", "old_one"], ["old_last"]),
        helper.make_node("Range", ["old_last", "old_zero", "old_minus_one"], ["old_indices"]),
    ]
    node.input[1] = "old_indices"
    nodes = list(model.graph.node)
    place = nodes.index(node)
    del model.graph.node[:]
    model.graph.node.extend([*nodes[:place], *before, *nodes[place:]])
    for dim in model.graph.output[0].type.tensor_type.shape.dim[:1]:
        dim.dim_param = "rest"
    return model


def build_second_column() -> Callable[[jax.Array], jax.Array]:
    """The second column of a table."""
    import jax.numpy as jnp

    column = jnp.asarray([1])
    return lambda x: jnp.tanh(x[:, column])


def first_column(model: onnx.ModelProto) -> onnx.ModelProto:
    """Every gather along a column takes column 0, whatever was asked for."""
    import onnx

    gather = next(node for node in model.graph.node if node.op_type in ("Gather", "GatherND"))
    shape = next((i for i in model.graph.initializer if i.name == gather.input[1]), None)
    zeros = np.zeros(list(shape.dims) if shape is not None else [1], "int64")
    model.graph.initializer.append(onnx.numpy_helper.from_array(zeros, "old_column"))
    gather.input[1] = "old_column"
    return model


_JAX = "https://github.com/jax-ml/jax"
_JAX2ONNX = "https://github.com/enpasos/jax2onnx"
_PICTURE = {"image": TensorSpec("float32", "2, 8, 8, 3", low=-3, high=3)}
_SMALL_PICTURE = {"image": TensorSpec("float32", "2, 7, 7, 2", low=-3, high=3)}


def _case(name: str, model: Callable[[], Any], inputs: Any, link: str, mechanism: str, **more: Any) -> Case:
    return Case(name, "jax", "jax2onnx", model, inputs, link, mechanism, **more)


CASES = [
    _case(
        "jax_one_hot_unknown_label",
        build_one_hot,
        {"label": TensorSpec("int32", "batch", low=-1, high=4)},
        "https://github.com/onnx/onnx/issues/4154",
        "jax.nn.one_hot(-1) is all zeros, the OneHot it becomes counts -1 from the end",
        witness=lambda: {"label": np.array([0, -1, 3], "int32")},
        blame="converter",
    ),
    _case(
        "jax_one_hot_unknown_label_clean",
        build_one_hot,
        {"label": TensorSpec("int32", "batch", low=0, high=7)},
        "https://github.com/onnx/onnx/issues/4154",
        "unknown labels lie above the depth, where both sides give zeros",
    ),
    _case(
        "jax_resize_nearest_smaller",
        build_shrunk,
        _PICTURE,
        "https://github.com/onnx/onnx/issues/3816",
        "JAX takes the pixel under the centre of the new one, the Resize rounds half a pixel down: another one",
        witness=lambda: {"image": np.arange(384, dtype="float32").reshape(2, 8, 8, 3) / 128},
        blame="converter",
    ),
    _case(
        "jax_resize_nearest_smaller_clean",
        build_grown,
        _PICTURE,
        "https://github.com/onnx/onnx/issues/3816",
        "at twice the size no centre lies between two pixels",
    ),
    _case(
        "jax_resize_cubic_kernel",
        build_enlarged_cubic,
        _SMALL_PICTURE,
        f"{_JAX}/issues/15768",
        "JAX's cubic kernel has a=-0.5, the Resize is left at ONNX's default of -0.75",
        witness=lambda: {"image": np.random.default_rng(0).uniform(-3, 3, (2, 7, 7, 2)).astype("float32")},
        blame="converter",
    ),
    _case(
        "jax_resize_cubic_kernel_clean",
        build_enlarged_linear,
        _SMALL_PICTURE,
        f"{_JAX}/issues/15768",
        "the linear kernel has no coefficient to get wrong",
    ),
    _case(
        "jax_round_half_away",
        build_levels,
        {"halves": TensorSpec("int32", "n", low=-20, high=20)},
        f"{_JAX}/pull/2894",
        "lax.round goes away from zero at a half, ONNX Round to the even one",
        witness=lambda: {"halves": np.array([1, 5, -1], "int32")},
        blame="converter",
    ),
    _case(
        "jax_round_half_away_clean",
        build_levels_even,
        {"halves": TensorSpec("int32", "n", low=-20, high=20)},
        f"{_JAX}/pull/2894",
        "jnp.round goes to the even one on both sides",
    ),
    _case(
        "jax_dynamic_slice_past_the_end",
        build_window,
        {"signal": "float32[8]", "start": TensorSpec("int32", "", low=0, high=8)},
        f"{_JAX}/pull/3649",
        "JAX moves a start back until the window fits; the Slice cuts the window short",
        witness=lambda: {"signal": np.arange(8, dtype="float32"), "start": np.array(7, "int32")},
        blame="converter",
    ),
    _case(
        "jax_dynamic_slice_past_the_end_clean",
        build_window,
        {"signal": "float32[8]", "start": TensorSpec("int32", "", low=0, high=6)},
        f"{_JAX}/pull/3649",
        "every start leaves room for the window",
    ),
    _case(
        "jax_row_past_the_end",
        build_row,
        {"table": "float32[n, 3]", "index": TensorSpec("int32", "", low=0, high=8)},
        f"{_JAX}/issues/3621",
        "JAX takes the last row for an index beyond it; the Slice comes out empty",
        dims={"n": (2, 6)},
        witness=lambda: {"table": np.ones((4, 3), "float32"), "index": np.array(6, "int32")},
        blame="converter",
    ),
    _case(
        "jax_row_past_the_end_clean",
        build_row,
        {"table": "float32[n, 3]", "index": TensorSpec("int32", "", low=0, high=8)},
        f"{_JAX}/issues/3621",
        "no table is so short that an index lies beyond it",
        dims={"n": (8, 12)},
    ),
    _case(
        "jax_lookup_unknown_token",
        build_lookup,
        {"token": TensorSpec("int32", "n", low=0, high=12)},
        f"{_JAX}/issues/3621",
        "JAX looks a token beyond the table up in its last row; the Gather refuses to run",
        witness=lambda: {"token": np.array([0, 11], "int32")},
        blame="converter",
    ),
    _case(
        "jax_lookup_unknown_token_clean",
        build_lookup,
        {"token": TensorSpec("int32", "n", low=-10, high=10)},
        f"{_JAX}/issues/3621",
        "negative tokens count from the end on both sides",
    ),
    _case(
        "jax_atan2_negative_zero",
        build_angle,
        {"y": TensorSpec("float32", "n", low=-1, high=1), "x": TensorSpec("float32", "n", low=-1, high=1)},
        "https://github.com/pytorch/pytorch/issues/45605",
        "the branch for a negative x asks whether y >= 0, which -0.0 is: pi for -pi",
        witness=lambda: {"y": np.array([-0.0, 0.5], "float32"), "x": np.array([-1, 1], "float32")},
        blame="converter",
    ),
    _case(
        "jax_atan2_negative_zero_clean",
        build_angle,
        {"y": TensorSpec("float32", "n", low=-1, high=1), "x": TensorSpec("float32", "n", low=0.125, high=1)},
        "https://github.com/pytorch/pytorch/issues/45605",
        "to the right of the y axis the sign of zero decides nothing that is compared",
    ),
    _case(
        "jax_max_of_missing",
        build_peak,
        {"x": "float32[n, 4]"},
        "https://github.com/microsoft/onnxruntime/issues/10514",
        "the largest of a row with NaN is NaN in JAX; ONNX Runtime's ReduceMax drops it, where it stands decides",
        witness=lambda: {"x": np.array([[1, np.nan, 0, 1]], "float32")},
        blame="kernel",
        special_values=True,
    ),
    _case(
        "jax_max_of_missing_clean",
        build_total,
        {"x": TensorSpec("float32", "n, 4", low=-100, high=100)},
        "https://github.com/microsoft/onnxruntime/issues/10514",
        "a sum with NaN is NaN on both sides",
        special_values=True,
    ),
    _case(
        "jax_attention_all_masked",
        build_attention,
        {"x": TensorSpec("float32", "batch, 5, 8", low=-3, high=3), "mask": "bool[batch, 5]"},
        "https://github.com/pytorch/pytorch/pull/131060",
        "where no key is left, Flax attends to all alike; jax2onnx puts zeros after the softmax",
        witness=lambda: {
            "x": np.random.default_rng(0).normal(size=(1, 5, 8)).astype("float32").clip(-3, 3),
            "mask": np.zeros((1, 5), bool),
        },
        blame="converter",
    ),
    _case(
        "jax_attention_all_masked_clean",
        build_attention_to_itself,
        {"x": TensorSpec("float32", "batch, 5, 8", low=-3, high=3), "mask": "bool[batch, 5]"},
        "https://github.com/pytorch/pytorch/pull/131060",
        "every query sees at least itself",
    ),
    _case(
        "jax_flip_dynamic_length",
        build_backwards,
        {"x": "float32[n, 3]"},
        f"{_JAX2ONNX}/issues/212",
        "a dynamic axis is reversed by a Range that counts down to the wrong end (fixed in jax2onnx since)",
        witness=lambda: {"x": np.arange(15, dtype="float32").reshape(5, 3) / 15},
        blame="converter",
        edit=reversed_by_a_falling_range,
    ),
    _case(
        "jax_flip_dynamic_length_clean",
        build_backwards,
        {"x": "float32[n, 3]"},
        f"{_JAX2ONNX}/issues/212",
        "today's export of the same function",
    ),
    _case(
        "jax_gather_second_column",
        build_second_column,
        {"x": "float32[n, 4]"},
        f"{_JAX2ONNX}/issues/95",
        "x[:, 1] is exported as x[:, 0]: the gather's indices are taken for zeros (fixed in jax2onnx since)",
        witness=lambda: {"x": np.arange(8, dtype="float32").reshape(2, 4) / 8},
        blame="converter",
        edit=first_column,
    ),
    _case(
        "jax_gather_second_column_clean",
        build_second_column,
        {"x": "float32[n, 4]"},
        f"{_JAX2ONNX}/issues/95",
        "today's export of the same function",
    ),
]
