"""Sound Keras and TensorFlow exports at which it is hard to stay quiet: jumps, long sums, near ties, float16.

Each is right up to the rounding of its dtype. Where an output jumps (argmax, rounding, a threshold), the value it jumps
on is an output too, so that whoever looks can tell a jump at a tie from a wrong answer. Links lead to the report of a
bug that such a model would show.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.detection.case import Case
from benchmarks.detection.corpus.keras_models import drawn, random_state_kept
from pytest_onnxprep import TensorSpec

if TYPE_CHECKING:
    import keras
    from tensorflow.types.experimental import PolymorphicFunction


def build_argmax() -> PolymorphicFunction:
    """Classifier whose twenty logits lie close together, and its choice."""
    import tensorflow as tf

    rng = np.random.default_rng(11)
    inner = rng.normal(0.0, 0.2, (24, 32)).astype("float32")
    outer = rng.normal(0.0, 0.003, (32, 20)).astype("float32")

    @tf.function(input_signature=[tf.TensorSpec([None, 24], tf.float32)])
    def choose(x: tf.Tensor) -> dict[str, tf.Tensor]:
        logits = 1.0 + tf.nn.relu(x @ inner) @ outer
        return {"logits": logits, "best": tf.argmax(logits, axis=-1)}

    return choose


@random_state_kept()
def build_rounded() -> keras.Model:
    """A rating and the whole number of stars next to it, halves to even."""
    import keras
    from keras import layers

    x = keras.Input((8,), name="x")
    rating = layers.Dense(3, use_bias=False, name="rating")(x)
    return drawn(keras.Model(x, {"rating": rating, "stars": keras.ops.round(rating)}), seed=12, scale=2.0)


@random_state_kept()
def build_thresholded() -> keras.Model:
    """A probability and whether it is above one half; without a bias, zeros lie exactly on the threshold."""
    import keras
    from keras import layers

    x = keras.Input((8,), name="x")
    probability = layers.Dense(4, activation="sigmoid", use_bias=False, name="probability")(x)
    return drawn(keras.Model(x, {"probability": probability, "positive": probability > 0.5}), seed=13)


@random_state_kept()
def build_deep() -> keras.Model:
    """Twelve dense layers in float32."""
    import keras
    from keras import layers

    x = keras.Input((32,), name="x")
    hidden: Any = x
    for _ in range(12):
        hidden = layers.Dense(32, activation="elu")(hidden)
    return drawn(keras.Model(x, hidden), seed=14)


@random_state_kept()
def build_long_lstm() -> keras.Model:
    """An LSTM over sequences of up to 120 steps."""
    import keras
    from keras import layers

    x = keras.Input((None, 3), name="x")
    return drawn(keras.Model(x, layers.Dense(2)(layers.LSTM(8)(x))), seed=15)


@random_state_kept()
def build_flat_rows() -> keras.Model:
    """Layer normalisation, which divides by almost nothing where a row is nearly constant."""
    import keras
    from keras import layers

    x = keras.Input((None, 16), name="x")
    return drawn(keras.Model(x, layers.LayerNormalization(epsilon=1e-5)(x)), seed=16)


@random_state_kept()
def build_half() -> keras.Model:
    """A small classifier in float16 throughout."""
    import keras
    from keras import layers

    x = keras.Input((16,), dtype="float16", name="x")
    hidden = layers.Dense(16, activation="relu", dtype="float16")(x)
    model = keras.Model(x, layers.Dense(4, activation="softmax", dtype="float16")(hidden))
    return drawn(model, seed=17)


def build_long_mean() -> PolymorphicFunction:
    """Mean and spread of up to 20 000 samples."""
    import tensorflow as tf

    @tf.function(input_signature=[tf.TensorSpec([None, None], tf.float32)])
    def long_mean(x: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"mean": tf.reduce_mean(x, axis=1), "spread": tf.math.reduce_std(x, axis=1)}

    return long_mean


def build_sharp_softmax() -> PolymorphicFunction:
    """Softmax of logits in the thousands, and their log-sum-exp."""
    import tensorflow as tf

    @tf.function(input_signature=[tf.TensorSpec([None, None], tf.float32)])
    def sharp_softmax(x: tf.Tensor) -> dict[str, tf.Tensor]:
        logits = 512.0 * x
        return {"weights": tf.nn.softmax(logits), "energy": tf.reduce_logsumexp(x, axis=-1)}

    return sharp_softmax


def build_top_three() -> PolymorphicFunction:
    """The three largest values and where they are; among equals both sides take the first."""
    import tensorflow as tf

    @tf.function(input_signature=[tf.TensorSpec([None, None], tf.float32)])
    def top_three(x: tf.Tensor) -> dict[str, tf.Tensor]:
        values, places = tf.math.top_k(x, 3)
        return {"values": values, "places": places}

    return top_three


_TF2ONNX = "https://github.com/onnx/tensorflow-onnx"

CASES = [
    Case(
        name="tf_near_tied_argmax_clean",
        framework="tensorflow",
        exporter="tf2onnx",
        model=build_argmax,
        inputs={"x": "float32[batch, 24]"},
        dims={"batch": (1, 16)},
        link=f"{_TF2ONNX}/issues/2194",
        mechanism="argmax over logits that lie close together",
    ),
    Case(
        name="keras_rounded_dense_clean",
        framework="keras",
        exporter="tf2onnx",
        model=build_rounded,
        inputs={"x": "float32[batch, 8]"},
        dims={"batch": (1, 16)},
        link=f"{_TF2ONNX}/issues/2194",
        mechanism="round() after a dense layer, halves to even on both sides",
    ),
    Case(
        name="keras_threshold_clean",
        framework="keras",
        exporter="tf2onnx",
        model=build_thresholded,
        inputs={"x": "float32[batch, 8]"},
        dims={"batch": (1, 16)},
        link=f"{_TF2ONNX}/issues/2194",
        mechanism="a threshold that zeros lie on",
    ),
    Case(
        name="keras_deep_dense_clean",
        framework="keras",
        exporter="tf2onnx",
        model=build_deep,
        inputs={"x": "float32[batch, 32]"},
        dims={"batch": (1, 16)},
        link=f"{_TF2ONNX}/issues/1112",
        mechanism="rounding grows over twelve layers",
        atol=1e-3,
        rtol=1e-3,
    ),
    Case(
        name="keras_long_lstm_clean",
        framework="keras",
        exporter="tf2onnx",
        model=build_long_lstm,
        inputs={"x": "float32[batch, seq, 3]"},
        dims={"batch": (1, 4), "seq": (1, 120)},
        link=f"{_TF2ONNX}/issues/1871",
        mechanism="rounding is carried over 120 steps",
    ),
    Case(
        name="keras_flat_layernorm_clean",
        framework="keras",
        exporter="tf2onnx",
        model=build_flat_rows,
        inputs={"x": TensorSpec("float32", "batch, seq, 16", low=-5, high=5)},
        dims={"batch": (1, 4), "seq": (1, 16)},
        link="https://github.com/microsoft/onnxruntime/issues/17689",
        mechanism="normalisation magnifies the rounding of nearly constant rows",
        atol=1e-3,
        rtol=1e-3,
    ),
    Case(
        name="keras_float16_clean",
        framework="keras",
        exporter="tf2onnx",
        model=build_half,
        inputs={"x": TensorSpec("float16", "batch, 16", low=-4, high=4)},
        dims={"batch": (1, 16)},
        link="https://github.com/microsoft/onnxruntime/issues/17689",
        mechanism="ten bits of mantissa",
        atol=5e-3,
        rtol=1e-2,
    ),
    Case(
        name="tf_long_reduction_clean",
        framework="tensorflow",
        exporter="tf2onnx",
        model=build_long_mean,
        inputs={"x": TensorSpec("float32", "batch, samples", low=-100, high=100)},
        dims={"batch": (1, 2), "samples": (1, 20000)},
        link="https://github.com/pytorch/pytorch/issues/94261",
        mechanism="sums of 20 000 terms in another order",
        atol=1e-3,
        rtol=1e-4,
    ),
    Case(
        name="tf_sharp_softmax_clean",
        framework="tensorflow",
        exporter="tf2onnx",
        model=build_sharp_softmax,
        inputs={"x": "float32[batch, n]"},
        dims={"batch": (1, 4), "n": (1, 64)},
        link="https://github.com/onnx/onnx/issues/2815",
        mechanism="softmax of logits in the thousands, scaled by a power of two and so the same on both sides",
    ),
    Case(
        name="tf_top_k_ties_clean",
        framework="tensorflow",
        exporter="tf2onnx",
        model=build_top_three,
        inputs={"x": "float32[batch, n]"},
        dims={"batch": (1, 8), "n": (3, 40)},
        link=f"{_TF2ONNX}/issues/2194",
        mechanism="ties among the largest",
    ),
]
