"""Keras 3 models of the size that runs on a microcontroller or a phone, weights drawn from fixed seeds."""

from __future__ import annotations

from typing import TYPE_CHECKING

from model_zoo.keras_models import _random_state_kept, _trained_like

if TYPE_CHECKING:
    import keras


@_random_state_kept()
def build_churn() -> keras.Model:
    """Build a perceptron over a customer's numbers and contract (Gorishniy et al. 2021, arXiv:2106.11959).

    `usage float32[batch, 10]` and `contract int32[batch]`, ids 0..5, to `churn float32[batch, 1]`, a probability.

    Returns:
        A functional `keras.Model` with dict inputs, 2 731 parameters and running statistics.
    """
    import keras
    from keras import layers

    usage = keras.Input((10,), name="usage")
    contract = keras.Input((), dtype="int32", name="contract")
    kind = layers.Embedding(6, 3, name="contract_embedding")(contract)
    x = layers.Concatenate(name="columns")([layers.BatchNormalization(name="norm")(usage), kind])
    for index, width in enumerate((48, 40), start=1):
        x = layers.Dense(width, activation="relu", name=f"hidden{index}")(x)
        x = layers.Dropout(0.2, name=f"dropout{index}")(x)
    churn = layers.Dense(1, activation="sigmoid", name="churn")(x)
    return _trained_like(keras.Model({"usage": usage, "contract": contract}, churn, name="churn"), seed=2106)


@_random_state_kept()
def build_gru_forecaster() -> keras.Sequential:
    """Build a forecaster of two stacked GRUs (Cho et al. 2014, arXiv:1406.1078; Chung et al. 2014, arXiv:1412.3555).

    `history float32[batch, steps, 6]` to `forecast float32[batch, 3]`.

    Returns:
        A built `keras.Sequential`, 8 091 parameters.
    """
    import keras
    from keras import layers

    model = keras.Sequential(
        [
            keras.Input((None, 6), name="history"),
            layers.GRU(32, return_sequences=True, name="gru1"),
            layers.GRU(24, name="gru2"),
            layers.Dense(3, name="forecast"),
        ],
        name="gru_forecaster",
    )
    return _trained_like(model, seed=1412)


@_random_state_kept()
def build_kws() -> keras.Sequential:
    """Build a keyword spotter of one-dimensional convolutions (Choi et al. 2019, arXiv:1904.03814, without residuals).

    `mfcc float32[batch, frames, 40]` to `keywords float32[batch, 12]` (softmax); 8 frames or more.

    Returns:
        A built `keras.Sequential`, 30 796 parameters and running statistics.
    """
    import keras
    from keras import layers

    blocks: list[layers.Layer] = []
    for index, width in enumerate((32, 48, 64), start=1):
        blocks += [
            layers.Conv1D(width, 5, strides=2, padding="same", use_bias=False, name=f"conv{index}"),
            layers.BatchNormalization(name=f"norm{index}"),
            layers.ReLU(name=f"relu{index}"),
        ]
    model = keras.Sequential(
        [
            keras.Input((None, 40), name="mfcc"),
            *blocks,
            layers.GlobalAveragePooling1D(name="mean"),
            layers.Dense(12, activation="softmax", name="keywords"),
        ],
        name="kws",
    )
    return _trained_like(model, seed=1904)


@_random_state_kept()
def build_mobilenet_v1() -> keras.Sequential:
    """Build the first blocks of MobileNet (Howard et al. 2017, arXiv:1704.04861) at width 0.5.

    `image float32[batch, 64, 64, 3]`, channels last, to `scores float32[batch, 20]` (softmax): depthwise and pointwise
    convolutions with BatchNorm and ReLU6.

    Returns:
        A built `keras.Sequential`, 39 924 parameters and running statistics.
    """
    import keras
    from keras import layers

    def norm(name: str) -> list[layers.Layer]:
        return [layers.BatchNormalization(name=f"norm_{name}"), layers.ReLU(6.0, name=f"relu_{name}")]

    blocks = [layers.Conv2D(16, 3, strides=2, padding="same", use_bias=False, name="stem"), *norm("stem")]
    for index, (width, stride) in enumerate(((32, 1), (64, 2), (64, 1), (128, 2), (128, 1)), start=1):
        blocks += [
            layers.DepthwiseConv2D(3, strides=stride, padding="same", use_bias=False, name=f"depthwise{index}"),
            *norm(f"depthwise{index}"),
            layers.Conv2D(width, 1, use_bias=False, name=f"pointwise{index}"),
            *norm(f"pointwise{index}"),
        ]
    head = [layers.GlobalAveragePooling2D(name="mean"), layers.Dense(20, activation="softmax", name="scores")]
    model = keras.Sequential([keras.Input((64, 64, 3), name="image"), *blocks, *head], name="mobilenet_v1")
    return _trained_like(model, seed=1704)


@_random_state_kept()
def build_attention_classifier() -> keras.Model:
    """Build a text classifier around one block of self-attention (Vaswani et al. 2017, arXiv:1706.03762).

    `tokens int32[batch, seq]`, ids 0..799, to `scores float32[batch, 4]` (softmax).

    Returns:
        A functional `keras.Model`, 38 596 parameters.
    """
    import keras
    from keras import layers

    tokens = keras.Input((None,), dtype="int32", name="tokens")
    x = layers.Embedding(800, 32, name="embedding")(tokens)
    mixed = layers.MultiHeadAttention(4, 8, name="attention")(x, x)
    x = layers.LayerNormalization(name="norm1")(layers.Add(name="residual1")([x, mixed]))
    hidden = layers.Dense(32, name="contract")(layers.Dense(96, activation="relu", name="expand")(x))
    x = layers.LayerNormalization(name="norm2")(layers.Add(name="residual2")([x, hidden]))
    x = layers.GlobalMaxPooling1D(name="strongest")(x)
    scores = layers.Dense(4, activation="softmax", name="scores")(layers.Dense(64, activation="relu", name="hidden")(x))
    return _trained_like(keras.Model(tokens, scores, name="attention_classifier"), seed=170)


@_random_state_kept()
def build_road_segmenter() -> keras.Model:
    """Build a U-Net of two levels (Ronneberger et al. 2015, arXiv:1505.04597) for a small camera.

    `image float32[batch, 48, 64, 3]`, channels last, to `road float32[batch, 48, 64, 1]`, a probability for each pixel.

    Returns:
        A functional `keras.Model`, 30 553 parameters.
    """
    import keras
    from keras import layers

    def conv(width: int, name: str) -> layers.Conv2D:
        return layers.Conv2D(width, 3, padding="same", activation="relu", name=name)

    image = keras.Input((48, 64, 3), name="image")
    first = conv(16, "down1")(image)
    second = conv(24, "down2")(layers.MaxPooling2D(name="pool1")(first))
    x = conv(32, "bottom")(layers.MaxPooling2D(name="pool2")(second))
    for level, (width, skip) in enumerate(((24, second), (16, first)), start=1):
        x = layers.Conv2DTranspose(width, 2, strides=2, name=f"rise{level}")(x)
        x = conv(width, f"up{level}")(layers.Concatenate(name=f"join{level}")([x, skip]))
    road = layers.Conv2D(1, 1, activation="sigmoid", name="road")(x)
    return _trained_like(keras.Model(image, road, name="road_segmenter"), seed=1505)


@_random_state_kept()
def build_machine_listener() -> keras.Model:
    """Build an autoencoder that hears a machine's faults (Koizumi et al. 2020, arXiv:2006.05822), a subclassed model.

    `frames float32[batch, 64]`, log-mel energies, to `rebuilt float32[batch, 64]` and `fault float32[batch]`, the mean
    squared difference.

    Returns:
        A built `keras.Model` of a class of its own, 5 944 parameters and running statistics.
    """
    import keras
    from keras import layers, ops

    class MachineListener(keras.Model):
        def __init__(self) -> None:
            super().__init__(name="machine_listener")
            self.encoder = [layers.Dense(width, activation="relu", name=f"encode{width}") for width in (40, 8)]
            self.norm = layers.BatchNormalization(name="norm")
            self.decoder = [layers.Dense(40, activation="relu", name="decode40"), layers.Dense(64, name="decode64")]

        def call(self, frames, training=False):
            x = frames
            for layer in self.encoder:
                x = layer(x)
            x = self.norm(x, training=training)
            for layer in self.decoder:
                x = layer(x)
            return {"rebuilt": x, "fault": ops.mean(ops.square(frames - x), axis=1)}

    model = MachineListener()
    model(keras.ops.zeros((1, 64)))
    return _trained_like(model, seed=2006)
