"""Keras 3 layers, through tf2onnx: pooling, masks, cropping, transposed convolution, NaN."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.detection.case import Case
from pytest_onnxprep import TensorSpec

if TYPE_CHECKING:
    import keras
    import onnx


@contextmanager
def random_state_kept() -> Iterator[None]:
    """Give the caller's `random` state back: Keras draws its initialisers' default seeds from it."""
    state = random.getstate()
    try:
        yield
    finally:
        random.setstate(state)


def drawn(model: keras.Model, seed: int, scale: float = 1.0) -> keras.Model:
    """Draw every weight from NumPy's Generator: kernels by their fan-in, the rest as training leaves them."""
    rng = np.random.default_rng(seed)
    for weight in model.weights:
        shape = tuple(weight.shape)
        match weight.name:
            case "gamma" | "moving_variance":
                value = rng.uniform(0.6, 1.4, shape)
            case "kernel" | "recurrent_kernel":
                value = rng.normal(0.0, scale / np.prod(shape[:-1]) ** 0.5, shape)
            case _:
                value = rng.normal(0.0, 0.3, shape)
        weight.assign(value.astype("float32"))
    return model


def _picture_model(layer: Callable[[], keras.layers.Layer]) -> keras.Model:
    import keras

    image = keras.Input((None, None, 3), name="image")
    return drawn(keras.Model(image, layer()(image)), seed=1)


@random_state_kept()
def build_wide_stride_pool() -> keras.Model:
    """Pooling over 2 x 2 in steps of three, padded."""
    from keras import layers

    return _picture_model(lambda: layers.AveragePooling2D(2, strides=3, padding="same"))


@random_state_kept()
def build_even_stride_pool() -> keras.Model:
    """Pooling over 3 x 3 in steps of three, padded."""
    from keras import layers

    return _picture_model(lambda: layers.AveragePooling2D(3, strides=3, padding="same"))


@random_state_kept()
def build_max_pool() -> keras.Model:
    """Largest of every 2 x 2 pixels, NaN wherever one of them is NaN."""
    from keras import layers

    return _picture_model(lambda: layers.MaxPooling2D(2))


@random_state_kept()
def build_mean_pool() -> keras.Model:
    """Mean of every 2 x 2 pixels, NaN wherever one of them is NaN."""
    from keras import layers

    return _picture_model(lambda: layers.AveragePooling2D(2))


@random_state_kept()
def build_center_crop() -> keras.Model:
    """The middle 8 x 8 pixels; smaller pictures are enlarged, as the layer documents."""
    from keras import layers

    return _picture_model(lambda: layers.CenterCrop(8, 8))


@random_state_kept()
def build_upsampling() -> keras.Model:
    """A transposed convolution by two, padded, as in U-Net decoders."""
    from keras import layers

    return _picture_model(lambda: layers.Conv2DTranspose(4, 3, strides=2, padding="same"))


@random_state_kept()
def build_sparse_upsampling() -> keras.Model:
    """A transposed convolution by three with a kernel of two: some output pixels hold the bias alone."""
    from keras import layers

    return _picture_model(lambda: layers.Conv2DTranspose(4, 2, strides=3, padding="same"))


@random_state_kept()
def build_dense_upsampling() -> keras.Model:
    """A transposed convolution by three with a kernel of three: every output pixel is reached."""
    from keras import layers

    return _picture_model(lambda: layers.Conv2DTranspose(4, 3, strides=3, padding="same"))


@random_state_kept()
def build_masked_mean() -> keras.Model:
    """Mean of word embeddings; id 0 is padding and does not count."""
    import keras
    from keras import layers

    tokens = keras.Input((None,), dtype="int32", name="tokens")
    embedded = layers.Embedding(20, 8, mask_zero=True)(tokens)
    pooled = layers.GlobalAveragePooling1D()(embedded)
    return drawn(keras.Model(tokens, layers.Dense(3)(pooled)), seed=2)


@random_state_kept()
def build_masked_lstm() -> keras.Model:
    """An LSTM over word embeddings; id 0 is padding, at which the state stands still."""
    import keras
    from keras import layers

    tokens = keras.Input((None,), dtype="int32", name="tokens")
    embedded = layers.Embedding(20, 8, mask_zero=True)(tokens)
    return drawn(keras.Model(tokens, layers.Dense(3)(layers.LSTM(6)(embedded))), seed=3)


def mask_dropped(model: onnx.ModelProto) -> onnx.ModelProto:
    """`mask_zero` ignored: every token counts."""
    import onnx

    nodes = list(model.graph.node)
    compared = next(node for node in nodes if node.op_type == "Equal" and "NotEqual" in node.output[0])
    index = nodes.index(compared)
    name = compared.output[0]
    compared.output[0] = f"{name}_before"
    model.graph.node.insert(index + 1, onnx.helper.make_node("Not", [f"{name}_before"], [f"{name}_not"]))
    model.graph.node.insert(index + 2, onnx.helper.make_node("And", [f"{name}_before", f"{name}_not"], [name]))
    return model


def crop_to_same_dropped(model: onnx.ModelProto) -> onnx.ModelProto:
    """A transposed convolution with padding "same" left as large as one with "valid"."""
    convolution = next(node for node in model.graph.node if node.op_type == "ConvTranspose")
    crop = next(n for n in model.graph.node if n.op_type == "Slice" and n.input[0] == convolution.output[0])
    crop.op_type = "Identity"
    del crop.input[1:]
    del model.graph.value_info[:]
    for axis in (1, 2):
        model.graph.output[0].type.tensor_type.shape.dim[axis].dim_param = f"output_dim{axis}"
    return model


def _ramp(height: int, width: int) -> dict[str, np.ndarray]:
    return {"image": np.arange(height * width * 3, dtype="float32").reshape(1, height, width, 3) / 1000}


_PICTURE = {"image": TensorSpec("float32", "batch, h, w, 3", low=0, high=1)}
_ANYTHING = {"image": "float32[batch, h, w, 3]"}
_SIZES = {"batch": (1, 3), "h": (4, 24), "w": (4, 24)}
_TOKENS = {"tokens": TensorSpec("int32", "batch, seq", low=0, high=20)}
_TF2ONNX = "https://github.com/onnx/tensorflow-onnx"
_KERAS2ONNX = "https://github.com/onnx/keras-onnx"

CASES = [
    Case(
        name="keras_pool_stride_above_kernel",
        framework="keras",
        exporter="tf2onnx",
        model=build_wide_stride_pool,
        inputs=_PICTURE,
        dims=_SIZES,
        link="https://github.com/microsoft/onnxruntime/issues/10086",
        mechanism="auto_pad=SAME_UPPER with a stride above the kernel computes a negative pad for some sizes; refused",
        witness=lambda: _ramp(9, 7),
        blame="kernel",
        atol=1e-5,
        opset=9,
    ),
    Case(
        name="keras_pool_stride_above_kernel_clean",
        framework="keras",
        exporter="tf2onnx",
        model=build_even_stride_pool,
        inputs=_PICTURE,
        dims=_SIZES,
        link="https://github.com/microsoft/onnxruntime/issues/10086",
        mechanism="a stride equal to the kernel never asks for a negative pad",
        atol=1e-4,
        opset=9,
    ),
    Case(
        name="keras_max_pool_nan",
        framework="keras",
        exporter="tf2onnx",
        model=build_max_pool,
        inputs=_ANYTHING,
        dims=_SIZES,
        link="https://github.com/microsoft/onnxruntime/issues/24819",
        mechanism="MaxPool drops NaN depending on where it lies",
        witness=lambda: {"image": np.full((1, 4, 4, 3), np.nan, "float32")},
        blame="kernel",
        special_values=True,
    ),
    Case(
        name="keras_max_pool_nan_clean",
        framework="keras",
        exporter="tf2onnx",
        model=build_mean_pool,
        inputs=_ANYTHING,
        dims=_SIZES,
        link="https://github.com/microsoft/onnxruntime/issues/24819",
        mechanism="a mean carries NaN and infinities on both sides",
        special_values=True,
    ),
    Case(
        name="keras_center_crop_small",
        framework="keras",
        exporter="tf2onnx",
        model=build_center_crop,
        inputs=_PICTURE,
        dims={"batch": (1, 3), "h": (5, 16), "w": (5, 16)},
        link="https://github.com/keras-team/keras/pull/22020",
        mechanism="traced with unknown sizes, CenterCrop always crops: pictures below 8 x 8 are not enlarged",
        witness=lambda: _ramp(6, 12),
        blame="converter",
        opset=15,
    ),
    Case(
        name="keras_center_crop_small_clean",
        framework="keras",
        exporter="tf2onnx",
        model=build_center_crop,
        inputs=_PICTURE,
        dims={"batch": (1, 3), "h": (8, 16), "w": (8, 16)},
        link="https://github.com/keras-team/keras/pull/22020",
        mechanism="no picture is smaller than the crop",
        opset=15,
    ),
    Case(
        name="keras_conv_transpose_same_uncropped",
        framework="keras",
        exporter="tf2onnx",
        model=build_upsampling,
        inputs=_PICTURE,
        dims=_SIZES,
        link=f"{_KERAS2ONNX}/issues/555",
        mechanism='padding="same" of a dynamic picture is not cropped: one row and column too many (fixed since)',
        witness=lambda: _ramp(5, 6),
        blame="converter",
        edit=crop_to_same_dropped,
    ),
    Case(
        name="keras_conv_transpose_same_uncropped_clean",
        framework="keras",
        exporter="tf2onnx",
        model=build_upsampling,
        inputs=_PICTURE,
        dims=_SIZES,
        link=f"{_KERAS2ONNX}/issues/555",
        mechanism="today's export of the same model",
    ),
    Case(
        name="keras_conv_transpose_bias_before_pad",
        framework="keras",
        exporter="tf2onnx",
        model=build_sparse_upsampling,
        inputs=_PICTURE,
        dims=_SIZES,
        link=f"{_TF2ONNX}/pull/843",
        mechanism="BiasAdd is fused into ConvTranspose although a Pad follows: padded pixels lack the bias",
        witness=lambda: _ramp(5, 6),
        blame="converter",
    ),
    Case(
        name="keras_conv_transpose_bias_before_pad_clean",
        framework="keras",
        exporter="tf2onnx",
        model=build_dense_upsampling,
        inputs=_PICTURE,
        dims=_SIZES,
        link=f"{_TF2ONNX}/pull/843",
        mechanism="a kernel as wide as the stride leaves nothing to pad",
    ),
    Case(
        name="keras_mask_zero_mean_ignored",
        framework="keras",
        exporter="tf2onnx",
        model=build_masked_mean,
        inputs=_TOKENS,
        dims={"batch": (1, 4), "seq": (1, 24)},
        link=f"{_KERAS2ONNX}/issues/90",
        mechanism="mask_zero is dropped at conversion: padding counts in the mean (fixed since)",
        witness=lambda: {"tokens": np.array([[3, 7, 0, 0], [1, 2, 3, 4]], "int32")},
        blame="converter",
        atol=1e-5,
        edit=mask_dropped,
    ),
    Case(
        name="keras_mask_zero_mean_ignored_clean",
        framework="keras",
        exporter="tf2onnx",
        model=build_masked_mean,
        inputs=_TOKENS,
        dims={"batch": (1, 4), "seq": (1, 24)},
        link=f"{_KERAS2ONNX}/issues/90",
        mechanism="today's export of the same model",
        atol=1e-5,
    ),
    Case(
        name="keras_mask_zero_lstm_ignored",
        framework="keras",
        exporter="tf2onnx",
        model=build_masked_lstm,
        inputs=_TOKENS,
        dims={"batch": (1, 4), "seq": (1, 24)},
        link=f"{_TF2ONNX}/issues/1871",
        mechanism="the workaround of the thread, an LSTM without mask_zero: padding moves the state",
        witness=lambda: {"tokens": np.array([[3, 7, 0, 0], [1, 2, 3, 4]], "int32")},
        blame="converter",
        atol=1e-5,
        edit=mask_dropped,
    ),
    Case(
        name="keras_mask_zero_lstm_ignored_clean",
        framework="keras",
        exporter="tf2onnx",
        model=build_masked_lstm,
        inputs=_TOKENS,
        dims={"batch": (1, 4), "seq": (1, 24)},
        link=f"{_TF2ONNX}/issues/1871",
        mechanism="today's export of the same model",
        atol=1e-5,
    ),
]
