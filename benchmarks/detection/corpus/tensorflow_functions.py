"""Plain ``tf.function`` programs over indices, whole numbers and signals, through tf2onnx."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from benchmarks.detection.case import Case
from pytest_onnxprep import TensorSpec

if TYPE_CHECKING:
    import onnx
    from tensorflow.types.experimental import PolymorphicFunction


def build_ring_slot() -> PolymorphicFunction:
    """Slot of a ring buffer of five that a signed time offset falls into."""
    import tensorflow as tf

    @tf.function(input_signature=[tf.TensorSpec([None], tf.int32)])
    def ring_slot(offset: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"slot": tf.math.floormod(offset, 5)}

    return ring_slot


def build_grid_cell() -> PolymorphicFunction:
    """Cell of a grid 16 wide in which a signed coordinate lies."""
    import tensorflow as tf

    @tf.function(input_signature=[tf.TensorSpec([None, 2], tf.int64)])
    def grid_cell(point: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"cell": point // 16}

    return grid_cell


def build_grid_cell_float() -> PolymorphicFunction:
    """The same cell from coordinates in float32; dividing by 16 is exact."""
    import tensorflow as tf

    @tf.function(input_signature=[tf.TensorSpec([None, 2], tf.float32)])
    def grid_cell_float(point: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"cell": tf.cast(tf.floor(point / 16.0), tf.int64)}

    return grid_cell_float


def build_frames(pad_end: bool) -> PolymorphicFunction:
    """Overlapping frames of a signal and their energy."""
    import tensorflow as tf

    @tf.function(input_signature=[tf.TensorSpec([None, None], tf.float32)])
    def frames(signal: tf.Tensor) -> dict[str, tf.Tensor]:
        framed = tf.signal.frame(signal, frame_length=4, frame_step=3, pad_end=pad_end)
        return {"energy": tf.reduce_mean(framed * framed, axis=-1)}

    return frames


def build_frames_padded() -> PolymorphicFunction:
    """Frames up to the last sample."""
    return build_frames(pad_end=True)


def build_frames_whole() -> PolymorphicFunction:
    """Whole frames only."""
    return build_frames(pad_end=False)


def build_votes() -> PolymorphicFunction:
    """Weights gathered per class by ``tf.scatter_nd``, which adds up duplicates."""
    import tensorflow as tf

    @tf.function(input_signature=[tf.TensorSpec([None], tf.int32), tf.TensorSpec([None], tf.float32)])
    def votes(label: tf.Tensor, weight: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"votes": tf.scatter_nd(label[:, tf.newaxis], weight, [8])}

    return votes


def build_votes_added() -> PolymorphicFunction:
    """The same through ``tf.tensor_scatter_nd_add``, for which tf2onnx writes ``reduction="add"``."""
    import tensorflow as tf

    @tf.function(input_signature=[tf.TensorSpec([None], tf.int32), tf.TensorSpec([None], tf.float32)])
    def votes_added(label: tf.Tensor, weight: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"votes": tf.tensor_scatter_nd_add(tf.zeros([8]), label[:, tf.newaxis], weight)}

    return votes_added


def build_one_hot() -> PolymorphicFunction:
    """Labels to rows; a label outside 0..3 (-1 stands for unknown) is a row of zeros."""
    import tensorflow as tf

    @tf.function(input_signature=[tf.TensorSpec([None, None], tf.int32)])
    def one_hot(label: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"row": tf.one_hot(label, 4)}

    return one_hot


def build_group_mean() -> PolymorphicFunction:
    """Mean per group; groups nobody is in are zero."""
    import tensorflow as tf

    @tf.function(input_signature=[tf.TensorSpec([None, 3], tf.float32), tf.TensorSpec([None], tf.int32)])
    def group_mean(x: tf.Tensor, group: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"mean": tf.math.segment_mean(x, tf.sort(group))}

    return group_mean


def build_group_sum() -> PolymorphicFunction:
    """Sum per group; groups nobody is in are zero."""
    import tensorflow as tf

    @tf.function(input_signature=[tf.TensorSpec([None, 3], tf.float32), tf.TensorSpec([None], tf.int32)])
    def group_sum(x: tf.Tensor, group: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"sum": tf.math.segment_sum(x, tf.sort(group))}

    return group_sum


def build_colour_histogram() -> PolymorphicFunction:
    """Sum per bin; entries of bin -1 are dropped, as TensorFlow documents."""
    import tensorflow as tf

    @tf.function(input_signature=[tf.TensorSpec([None], tf.float32), tf.TensorSpec([None], tf.int32)])
    def colour_histogram(weight: tf.Tensor, bucket: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"histogram": tf.math.unsorted_segment_sum(weight, bucket, 6)}

    return colour_histogram


def build_head_and_tail() -> PolymorphicFunction:
    """The first column, and whatever is left of it."""
    import tensorflow as tf

    @tf.function(input_signature=[tf.TensorSpec([None, None], tf.float32)])
    def head_and_tail(x: tf.Tensor) -> dict[str, tf.Tensor]:
        head, tail = tf.split(x, [1, -1], axis=1)
        return {"head": tf.tanh(head), "tail": tf.nn.relu(tail)}

    return head_and_tail


def build_head_and_tail_sliced() -> PolymorphicFunction:
    """The same by slicing."""
    import tensorflow as tf

    @tf.function(input_signature=[tf.TensorSpec([None, None], tf.float32)])
    def head_and_tail_sliced(x: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"head": tf.tanh(x[:, :1]), "tail": tf.nn.relu(x[:, 1:])}

    return head_and_tail_sliced


def build_added_axes() -> PolymorphicFunction:
    """Two axes added at the end, to scale pictures per channel."""
    import tensorflow as tf

    @tf.function(input_signature=[tf.TensorSpec([None, None], tf.float32)])
    def added_axes(gain: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"scale": 2.0 * gain[..., tf.newaxis, tf.newaxis]}

    return added_axes


def axes_counted_from_the_front(model: onnx.ModelProto) -> onnx.ModelProto:
    """Axes after an ellipsis counted as if the ellipsis were a single axis."""
    import onnx

    unsqueeze = next(node for node in model.graph.node if node.op_type == "Unsqueeze")
    axes = onnx.numpy_helper.from_array(np.array([1, 2], "int64"), "axes_after_one")
    model.graph.initializer.append(axes)
    unsqueeze.input[1] = axes.name
    for index, dim in enumerate(model.graph.output[0].type.tensor_type.shape.dim):
        dim.dim_param = f"output_dim{index}"
    del model.graph.value_info[:]
    return model


_TF2ONNX = "https://github.com/onnx/tensorflow-onnx"

CASES = [
    Case(
        name="tf_floormod_negative_int",
        framework="tensorflow",
        exporter="tf2onnx",
        model=build_ring_slot,
        inputs={"offset": TensorSpec("int32", "n", low=-100, high=100)},
        dims={"n": (1, 32)},
        link=f"{_TF2ONNX}/issues/2174",
        mechanism="FloorMod of whole numbers becomes a truncating remainder: wrong sign below zero",
        witness=lambda: {"offset": np.array([-7, 7, -1, 0], "int32")},
        blame="converter",
    ),
    Case(
        name="tf_floormod_negative_int_clean",
        framework="tensorflow",
        exporter="tf2onnx",
        model=build_ring_slot,
        inputs={"offset": TensorSpec("int32", "n", low=0, high=100)},
        dims={"n": (1, 32)},
        link=f"{_TF2ONNX}/issues/2174",
        mechanism="offsets never negative: truncating and flooring agree",
    ),
    Case(
        name="tf_floordiv_negative_int",
        framework="tensorflow",
        exporter="tf2onnx",
        model=build_grid_cell,
        inputs={"point": TensorSpec("int64", "n, 2", low=-1000, high=1000)},
        dims={"n": (1, 32)},
        link=f"{_TF2ONNX}/issues/2174",
        mechanism="FloorDiv of whole numbers becomes Div, which rounds towards zero: one cell off below zero",
        witness=lambda: {"point": np.array([[-1, 5], [-17, 33]], "int64")},
        blame="converter",
        opset=13,
    ),
    Case(
        name="tf_floordiv_negative_int_clean",
        framework="tensorflow",
        exporter="tf2onnx",
        model=build_grid_cell_float,
        inputs={"point": TensorSpec("float32", "n, 2", low=-1000, high=1000)},
        dims={"n": (1, 32)},
        link=f"{_TF2ONNX}/issues/2174",
        mechanism="floor of a float quotient, which is exact here: a jump at every multiple of 16, on both sides alike",
        opset=13,
    ),
    Case(
        name="tf_frame_pad_end",
        framework="tensorflow",
        exporter="tf2onnx",
        model=build_frames_padded,
        inputs={"signal": "float32[batch, samples]"},
        dims={"batch": (1, 4), "samples": (4, 64)},
        link=f"{_TF2ONNX}/issues/2174",
        mechanism="tf.signal.frame counts frames by -(-samples // step), the truncated FloorDiv: the last one is lost",
        witness=lambda: {"signal": np.ones((1, 10), "float32")},
        blame="converter",
    ),
    Case(
        name="tf_frame_pad_end_clean",
        framework="tensorflow",
        exporter="tf2onnx",
        model=build_frames_whole,
        inputs={"signal": "float32[batch, samples]"},
        dims={"batch": (1, 4), "samples": (4, 64)},
        link=f"{_TF2ONNX}/issues/2174",
        mechanism="without padding the number of frames divides a length that is not negative",
    ),
    Case(
        name="tf_scatter_nd_duplicates",
        framework="tensorflow",
        exporter="tf2onnx",
        model=build_votes,
        inputs={"label": TensorSpec("int32", "n", low=0, high=8), "weight": "float32[n]"},
        dims={"n": (1, 16)},
        link="https://github.com/onnx/onnx/issues/2074",
        mechanism="ScatterNd adds up duplicates, the ScatterND it becomes keeps the last one",
        witness=lambda: {"label": np.array([2, 2, 5], "int32"), "weight": np.array([1, 2, 3], "float32")},
        blame="converter",
        atol=1e-5,
    ),
    Case(
        name="tf_scatter_nd_duplicates_clean",
        framework="tensorflow",
        exporter="tf2onnx",
        model=build_votes_added,
        inputs={"label": TensorSpec("int32", "n", low=0, high=8), "weight": "float32[n]"},
        dims={"n": (1, 16)},
        link="https://github.com/onnx/onnx/issues/2074",
        mechanism='the update that adds is exported with reduction="add"',
        atol=1e-5,
    ),
    Case(
        name="tf_one_hot_unknown_label",
        framework="tensorflow",
        exporter="tf2onnx",
        model=build_one_hot,
        inputs={"label": TensorSpec("int32", "batch, n", low=-1, high=4)},
        link="https://github.com/onnx/onnx/issues/4154",
        mechanism="tf.one_hot(-1) is all zeros, ONNX OneHot counts -1 from the end",
        witness=lambda: {"label": np.array([[0, -1, 3]], "int32")},
        blame="converter",
        opset=11,
    ),
    Case(
        name="tf_one_hot_unknown_label_clean",
        framework="tensorflow",
        exporter="tf2onnx",
        model=build_one_hot,
        inputs={"label": TensorSpec("int32", "batch, n", low=0, high=7)},
        link="https://github.com/onnx/onnx/issues/4154",
        mechanism="unknown labels lie above the depth, where both sides give zeros",
        opset=11,
    ),
    Case(
        name="tf_segment_mean_empty_group",
        framework="tensorflow",
        exporter="tf2onnx",
        model=build_group_mean,
        inputs={"x": "float32[n, 3]", "group": TensorSpec("int32", "n", low=0, high=6)},
        dims={"n": (1, 12)},
        link=f"{_TF2ONNX}/pull/1191",
        mechanism="the mean of an empty group is 0 in TensorFlow, 0/0 in the exported graph",
        witness=lambda: {"x": np.ones((3, 3), "float32"), "group": np.array([0, 0, 2], "int32")},
        blame="converter",
        atol=1e-5,
    ),
    Case(
        name="tf_segment_mean_empty_group_clean",
        framework="tensorflow",
        exporter="tf2onnx",
        model=build_group_sum,
        inputs={"x": "float32[n, 3]", "group": TensorSpec("int32", "n", low=0, high=6)},
        dims={"n": (1, 12)},
        link=f"{_TF2ONNX}/pull/1191",
        mechanism="the sum of an empty group is 0 on both sides",
        atol=1e-4,
    ),
    Case(
        name="tf_unsorted_segment_dropped_id",
        framework="tensorflow",
        exporter="tf2onnx",
        model=build_colour_histogram,
        inputs={"weight": "float32[n]", "bucket": TensorSpec("int32", "n", low=-1, high=6)},
        dims={"n": (1, 12)},
        link=f"{_TF2ONNX}/issues/2106",
        mechanism="entries of segment -1 are dropped by TensorFlow; the exported graph adds them to the last segment",
        witness=lambda: {"weight": np.array([1, 2, 4], "float32"), "bucket": np.array([0, -1, 3], "int32")},
        blame="converter",
        atol=1e-5,
    ),
    Case(
        name="tf_unsorted_segment_dropped_id_clean",
        framework="tensorflow",
        exporter="tf2onnx",
        model=build_colour_histogram,
        inputs={"weight": "float32[n]", "bucket": TensorSpec("int32", "n", low=0, high=6)},
        dims={"n": (1, 12)},
        link=f"{_TF2ONNX}/issues/2106",
        mechanism="every entry has a bin",
        atol=1e-5,
    ),
    Case(
        name="tf_split_rest",
        framework="tensorflow",
        exporter="tf2onnx",
        model=build_head_and_tail,
        inputs={"x": "float32[batch, width]"},
        dims={"width": (2, 16)},
        link="https://github.com/onnx/onnx/issues/2370",
        mechanism="the -1 of tf.split is written into Split as it is where the width is dynamic; every run is refused",
        witness=lambda: {"x": np.ones((2, 4), "float32")},
        blame="converter",
    ),
    Case(
        name="tf_split_rest_clean",
        framework="tensorflow",
        exporter="tf2onnx",
        model=build_head_and_tail_sliced,
        inputs={"x": "float32[batch, width]"},
        dims={"width": (2, 16)},
        link="https://github.com/onnx/onnx/issues/2370",
        mechanism="slices instead of a split",
    ),
    Case(
        name="tf_newaxis_after_ellipsis",
        framework="tensorflow",
        exporter="tf2onnx",
        model=build_added_axes,
        inputs={"gain": "float32[batch, channels]"},
        link=f"{_TF2ONNX}/issues/1849",
        mechanism="two axes added after an ellipsis land before the last axis (fixed in tf2onnx since)",
        witness=lambda: {"gain": np.ones((2, 3), "float32")},
        blame="converter",
        edit=axes_counted_from_the_front,
    ),
    Case(
        name="tf_newaxis_after_ellipsis_clean",
        framework="tensorflow",
        exporter="tf2onnx",
        model=build_added_axes,
        inputs={"gain": "float32[batch, channels]"},
        link=f"{_TF2ONNX}/issues/1849",
        mechanism="today's export of the same function",
    ),
]
