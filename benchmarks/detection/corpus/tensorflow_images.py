"""Plain ``tf.function`` programs over pictures of any size, through tf2onnx: resizing and dilated convolution."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from benchmarks.detection.case import Case
from pytest_onnxprep import Dim, TensorSpec

if TYPE_CHECKING:
    import onnx
    from tensorflow.types.experimental import PolymorphicFunction

_PICTURE = {"image": TensorSpec("float32", "batch, h, w, 3", low=0, high=1)}


def _picture(height: int, width: int) -> dict[str, np.ndarray]:
    return {"image": np.random.default_rng(0).random((1, height, width, 3), dtype="float32")}


def _build_resize(method: str) -> PolymorphicFunction:
    import tensorflow as tf

    @tf.function(input_signature=[tf.TensorSpec([None, None, None, 3], tf.float32)])
    def resize(image: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"thumbnail": tf.image.resize(image, [6, 10], method=method)}

    return resize


def build_area() -> PolymorphicFunction:
    """Thumbnails of 6 x 10, each pixel the mean of its area."""
    return _build_resize("area")


def build_bicubic() -> PolymorphicFunction:
    """Thumbnails of 6 x 10, bicubic."""
    return _build_resize("bicubic")


def build_nearest() -> PolymorphicFunction:
    """Thumbnails of 6 x 10, nearest pixel."""
    return _build_resize("nearest")


def build_bilinear() -> PolymorphicFunction:
    """Thumbnails of 6 x 10, bilinear between pixel centres."""
    return _build_resize("bilinear")


def build_bilinear_corners() -> PolymorphicFunction:
    """Thumbnails of 6 x 10, bilinear with the corners aligned."""
    import tensorflow as tf

    @tf.function(input_signature=[tf.TensorSpec([None, None, None, 3], tf.float32)])
    def resize(image: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"thumbnail": tf.compat.v1.image.resize_bilinear(image, [6, 10], align_corners=True)}

    return resize


def build_nearest_corners() -> PolymorphicFunction:
    """Thumbnails of 6 x 10, nearest pixel with the corners aligned."""
    import tensorflow as tf

    @tf.function(input_signature=[tf.TensorSpec([None, None, None, 3], tf.float32)])
    def resize(image: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"thumbnail": tf.compat.v1.image.resize_nearest_neighbor(image, [6, 10], align_corners=True)}

    return resize


def _build_atrous(padding: str) -> PolymorphicFunction:
    import tensorflow as tf

    kernel = np.random.default_rng(1).normal(0.0, 0.2, (3, 3, 3, 4)).astype("float32")

    @tf.function(input_signature=[tf.TensorSpec([None, None, None, 3], tf.float32)])
    def atrous(image: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"features": tf.nn.relu(tf.nn.conv2d(image, kernel, 1, padding, dilations=2))}

    return atrous


def build_atrous_same() -> PolymorphicFunction:
    """A dilated convolution that keeps the picture's size."""
    return _build_atrous("SAME")


def build_atrous_valid() -> PolymorphicFunction:
    """A dilated convolution without padding."""
    return _build_atrous("VALID")


def _resize_attribute(model: onnx.ModelProto, name: str, value: bytes) -> onnx.ModelProto:
    for node in model.graph.node:
        for attribute in node.attribute:
            if node.op_type == "Resize" and attribute.name == name:
                attribute.s = value
    return model


def half_pixel_ignored(model: onnx.ModelProto) -> onnx.ModelProto:
    """`half_pixel_centers` not read, as tf2onnx before 1.6.1."""
    return _resize_attribute(model, "coordinate_transformation_mode", b"asymmetric")


def nearest_floored(model: onnx.ModelProto) -> onnx.ModelProto:
    """Aligned corners rounded down, as tf2onnx before 1.14."""
    return _resize_attribute(model, "nearest_mode", b"floor")


_TF2ONNX = "https://github.com/onnx/tensorflow-onnx"
_SIZES = {"batch": (1, 3), "h": (4, 32), "w": (4, 32)}

CASES = [
    Case(
        name="tf_resize_area",
        framework="tensorflow",
        exporter="tf2onnx",
        model=build_area,
        inputs=_PICTURE,
        dims=_SIZES,
        link=f"{_TF2ONNX}/pull/2241",
        mechanism="ResizeArea is mapped to a Resize that picks pixels instead of averaging them",
        witness=lambda: _picture(18, 20),
        blame="converter",
    ),
    Case(
        name="tf_resize_area_clean",
        framework="tensorflow",
        exporter="tf2onnx",
        model=build_nearest,
        inputs=_PICTURE,
        dims={"batch": (1, 3), "h": Dim(6, 36, multiple_of=6), "w": Dim(10, 60, multiple_of=10)},
        link=f"{_TF2ONNX}/pull/2241",
        mechanism="the nearest pixel, which Resize does have; at whole ratios, so that no pixel lies half-way",
    ),
    Case(
        name="tf_resize_bicubic",
        framework="tensorflow",
        exporter="tf2onnx",
        model=build_bicubic,
        inputs=_PICTURE,
        dims=_SIZES,
        link="https://github.com/microsoft/onnxruntime/issues/12302",
        mechanism="a cubic Resize over NHWC or shrinking pictures is refused when it runs",
        witness=lambda: _picture(18, 20),
        blame="converter",
        atol=1e-2,
    ),
    Case(
        name="tf_resize_bicubic_clean",
        framework="tensorflow",
        exporter="tf2onnx",
        model=build_bilinear_corners,
        inputs=_PICTURE,
        dims=_SIZES,
        link="https://github.com/microsoft/onnxruntime/issues/12302",
        mechanism="bilinear",
    ),
    Case(
        name="tf_resize_half_pixel_ignored",
        framework="tensorflow",
        exporter="tf2onnx",
        model=build_bilinear,
        inputs=_PICTURE,
        dims=_SIZES,
        link=f"{_TF2ONNX}/issues/914",
        mechanism="half_pixel_centers is not read: the picture is shifted by half a pixel (fixed in tf2onnx since)",
        witness=lambda: _picture(9, 7),
        blame="converter",
        edit=half_pixel_ignored,
    ),
    Case(
        name="tf_resize_half_pixel_ignored_clean",
        framework="tensorflow",
        exporter="tf2onnx",
        model=build_bilinear,
        inputs=_PICTURE,
        dims=_SIZES,
        link=f"{_TF2ONNX}/issues/914",
        mechanism="today's export of the same function",
    ),
    Case(
        name="tf_resize_nearest_corners_floored",
        framework="tensorflow",
        exporter="tf2onnx",
        model=build_nearest_corners,
        inputs=_PICTURE,
        dims=_SIZES,
        link=f"{_TF2ONNX}/pull/2130",
        mechanism="align_corners with the nearest pixel rounds down instead of to the nearest (fixed since)",
        witness=lambda: _picture(9, 7),
        blame="converter",
        edit=nearest_floored,
    ),
    Case(
        name="tf_resize_nearest_corners_floored_clean",
        framework="tensorflow",
        exporter="tf2onnx",
        model=build_nearest_corners,
        inputs=_PICTURE,
        dims={"batch": (1, 3), "h": (4, 6), "w": (4, 10)},
        link=f"{_TF2ONNX}/pull/2130",
        mechanism="today's export of the same function",
    ),
    Case(
        name="tf_conv_same_dilated",
        framework="tensorflow",
        exporter="tf2onnx",
        model=build_atrous_same,
        inputs=_PICTURE,
        dims={"batch": (1, 3), "h": (5, 24), "w": (5, 24)},
        link="https://github.com/microsoft/onnxruntime/issues/20582",
        mechanism="auto_pad=SAME_UPPER with dilations is valid ONNX, loads, and is refused at every run",
        witness=lambda: _picture(9, 7),
        blame="kernel",
        opset=12,
    ),
    Case(
        name="tf_conv_same_dilated_clean",
        framework="tensorflow",
        exporter="tf2onnx",
        model=build_atrous_valid,
        inputs=_PICTURE,
        dims={"batch": (1, 3), "h": (5, 24), "w": (5, 24)},
        link="https://github.com/microsoft/onnxruntime/issues/20582",
        mechanism="no padding",
        opset=12,
    ),
]
