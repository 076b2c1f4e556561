"""Keras 3 models on the TensorFlow backend, layers named, weights drawn from fixed seeds; more in `keras_edge`."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import keras


@contextmanager
def _random_state_kept() -> Iterator[None]:
    """Give the caller's `random` state back: Keras draws initialisers' default seeds from it, even at import."""
    state = random.getstate()
    try:
        yield
    finally:
        random.setstate(state)


def _trained_like(model: keras.Model, seed: int) -> keras.Model:
    """Set every weight from NumPy's Generator, BatchNorm statistics included, and return the model.

    A fresh BatchNorm is close to the identity, so that a wrong or forgotten fold would not show.
    """
    import numpy as np

    rng = np.random.default_rng(seed)
    for weight in model.weights:
        shape = tuple(weight.shape)
        match weight.name:
            case "gamma":
                value = rng.uniform(0.7, 1.3, shape)
            case "moving_variance":
                value = rng.uniform(0.6, 1.4, shape)
            case "moving_mean" | "beta" | "bias":
                value = rng.normal(0.0, 0.1, shape)
            case "embeddings":
                value = rng.normal(0.0, 1.0, shape)
            case "kernel" if len(shape) == 4:  # convolutions feed a ReLU (He et al. 2015, arXiv:1502.01852)
                value = rng.normal(0.0, (2.0 / np.prod(shape[:-1])) ** 0.5, shape)
            case "kernel" | "recurrent_kernel":
                value = rng.normal(0.0, (1.0 / shape[0]) ** 0.5, shape)
            case other:
                raise ValueError(f"no rule for the weight {other!r} of {model.name}; add one to _trained_like")
        weight.assign(value.astype("float32"))
    return model


@_random_state_kept()
def build_cnn() -> keras.Sequential:
    """Build a VGG-style picture classifier (Simonyan and Zisserman 2014, arXiv:1409.1556) with BatchNorm.

    `image float32[batch, h, w, 3]`, channels last as in Keras, to `scores float32[batch, 10]` (softmax); any h and w
    from 8 up.

    Returns:
        A built `keras.Sequential`, 289 642 parameters.
    """
    import keras
    from keras import layers

    blocks: list[layers.Layer] = []
    for index, width in enumerate((32, 64, 128), start=1):
        for part in "ab":
            blocks += [
                layers.Conv2D(width, 3, padding="same", use_bias=False, name=f"conv{index}{part}"),
                layers.BatchNormalization(name=f"norm{index}{part}"),
                layers.ReLU(name=f"relu{index}{part}"),
            ]
        blocks.append(layers.MaxPooling2D(name=f"pool{index}"))
    model = keras.Sequential(
        [
            keras.Input((None, None, 3), name="image"),
            *blocks,
            layers.GlobalAveragePooling2D(name="mean"),
            layers.Dense(10, activation="softmax", name="scores"),
        ],
        name="cnn",
    )
    return _trained_like(model, seed=1409)


@_random_state_kept()
def build_two_tower() -> keras.Model:
    """Build a two-tower retrieval model (Huang et al. 2013, CIKM "DSSM"; Yi et al. 2019, RecSys; no arXiv ids).

    `history int32[batch, events]`, item ids 0..499, and `item float32[batch, 16]` to `match float32[batch, 1]` (a
    probability) and `item_embedding float32[batch, 32]` (unit length, to be indexed).

    Returns:
        A functional `keras.Model` with dict inputs and dict outputs, 23 362 parameters.
    """
    import keras
    from keras import layers

    history = keras.Input((None,), dtype="int32", name="history")
    user = layers.Embedding(500, 32, name="history_embedding")(history)
    user = layers.GlobalAveragePooling1D(name="history_mean")(user)
    user = layers.Dense(64, activation="relu", name="user_hidden")(user)
    user = layers.UnitNormalization(name="user_embedding")(layers.Dense(32, name="user_project")(user))

    item = keras.Input((16,), name="item")
    features = layers.Dense(64, activation="relu", name="item_hidden")(item)
    item_embedding = layers.UnitNormalization(name="item_embedding")(layers.Dense(32, name="item_project")(features))

    similarity = layers.Dot(axes=1, name="similarity")([user, item_embedding])
    match = layers.Dense(1, activation="sigmoid", name="match")(similarity)
    model = keras.Model(
        inputs={"history": history, "item": item},
        outputs={"match": match, "item_embedding": item_embedding},
        name="two_tower",
    )
    return _trained_like(model, seed=2013)


@_random_state_kept()
def build_bilstm() -> keras.Sequential:
    """Build a bidirectional LSTM text classifier (Schuster and Paliwal 1997; Hochreiter and Schmidhuber 1997).

    `tokens int32[batch, seq]`, ids 0..999, to `scores float32[batch, 5]` (softmax).

    Returns:
        A built `keras.Sequential`, 107 877 parameters.
    """
    import keras
    from keras import layers

    model = keras.Sequential(
        [
            keras.Input((None,), dtype="int32", name="tokens"),
            layers.Embedding(1000, 64, name="embedding"),
            layers.Bidirectional(layers.LSTM(48), name="bilstm"),
            layers.Dense(5, activation="softmax", name="scores"),
        ],
        name="bilstm",
    )
    return _trained_like(model, seed=1997)
