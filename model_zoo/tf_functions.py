"""Plain `tf.function` programs: no Keras, control flow kept in the graph."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tensorflow.types.experimental import PolymorphicFunction

ROWS, COLUMNS, STEPS = 16, 16, 12


def build_power_iteration() -> PolymorphicFunction:
    """Build the power iteration for a matrix's largest singular value (von Mises and Pollaczek-Geiringer 1929).

    As used for spectral normalisation (Miyato et al. 2018, arXiv:1802.05957). `matrix float32[batch, 16, 16]` to
    `spectral_norm float32[batch]`, by 12 turns of `tf.while_loop`. Only the value is returned: the vector behind it is
    ill-conditioned wherever the two largest singular values are close.

    Returns:
        A `tf.function` with an `input_signature` and a dict of outputs; it has no parameters.
    """
    import numpy as np
    import tensorflow as tf

    # A start that no likely matrix is orthogonal to, unlike a vector of ones (rows that sum to zero are common).
    start = np.random.default_rng(1929).normal(size=(1, COLUMNS, 1)).astype("float32")

    @tf.function(input_signature=[tf.TensorSpec([None, ROWS, COLUMNS], tf.float32, name="matrix")])
    def power_iteration(matrix: tf.Tensor) -> dict[str, tf.Tensor]:
        def turn(step: tf.Tensor, vector: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            image = tf.linalg.matmul(matrix, tf.math.l2_normalize(vector, axis=1))
            return step + 1, tf.linalg.matmul(matrix, tf.math.l2_normalize(image, axis=1), transpose_a=True)

        # The constant is made in here: tf2onnx turns an eager tensor from outside into one more input of the model.
        vector = tf.tile(tf.constant(start), [tf.shape(matrix)[0], 1, 1])
        _, vector = tf.while_loop(
            lambda step, _: step < STEPS,
            turn,
            (tf.constant(0), vector),
            shape_invariants=(tf.TensorShape([]), tf.TensorShape([None, COLUMNS, 1])),
        )
        return {"spectral_norm": tf.norm(vector, axis=[1, 2])}

    return power_iteration


def build_signal_filter() -> PolymorphicFunction:
    """Build a filter bank: windowed-sinc band passes (Oppenheim and Schafer 1975), energies of their outputs in dB.

    `signal float32[batch, samples]`, 64 samples or more, to `energies_db float32[batch, frames, 4]`, one frame for
    every 16 samples.

    Returns:
        A `tf.function` with an `input_signature` and a dict of outputs; four filters of 33 taps in its graph.
    """
    import numpy as np
    import tensorflow as tf

    places = np.arange(-16, 17)
    edges = (0.02, 0.05, 0.12, 0.25, 0.45)

    def low_pass(cut: float) -> np.ndarray:
        return 2 * cut * np.sinc(2 * cut * places)

    bands = [(low_pass(high) - low_pass(low)) * np.hamming(33) for low, high in pairwise(edges)]
    taps = np.stack(bands, axis=1)[:, None, :].astype("float32")

    @tf.function(input_signature=[tf.TensorSpec([None, None], tf.float32, name="signal")])
    def signal_filter(signal: tf.Tensor) -> dict[str, tf.Tensor]:
        filtered = tf.nn.conv1d(signal[:, :, None], tf.constant(taps), stride=1, padding="SAME")
        energy = tf.nn.avg_pool1d(tf.square(filtered), 16, 16, padding="VALID")
        return {"energies_db": 4.342944819 * tf.math.log(energy + 1e-6)}

    return signal_filter


def build_image_preprocessing() -> PolymorphicFunction:
    """Build what stands before a picture model: resize, crop, normalise, channels first.

    The statistics are ImageNet's (Krizhevsky et al. 2012, NeurIPS). `image uint8[h, w, 3]` to `pixels
    float32[1, 3, 32, 32]`.

    Returns:
        A `tf.function` with an `input_signature` and a dict of outputs; it has no parameters.
    """
    import tensorflow as tf

    @tf.function(input_signature=[tf.TensorSpec([None, None, 3], tf.uint8, name="image")])
    def image_preprocessing(image: tf.Tensor) -> dict[str, tf.Tensor]:
        resized = tf.image.resize(tf.cast(image, tf.float32)[None] / 255.0, [40, 40])
        cropped = resized[:, 4:36, 4:36]
        normalised = (cropped - tf.constant([0.485, 0.456, 0.406])) / tf.constant([0.229, 0.224, 0.225])
        return {"pixels": tf.transpose(normalised, [0, 3, 1, 2])}

    return image_preprocessing


def build_kalman() -> PolymorphicFunction:
    """Build a Kalman filter (Kalman 1960, J. Basic Eng. 82) for a track of measured places.

    `measured float32[steps, batch, 2]`, x and y at each step, to `track float32[steps, batch, 4]`, place and speed as
    believed after each step: a `tf.while_loop` over the steps with a `TensorArray`.

    Returns:
        A `tf.function` with an `input_signature` and a dict of outputs; it has no trained parameters.
    """
    import numpy as np
    import tensorflow as tf

    move = np.eye(4, dtype="float32") + 0.5 * np.eye(4, k=2, dtype="float32")
    see = np.eye(2, 4, dtype="float32")
    drift = np.diag([0.01, 0.01, 0.1, 0.1]).astype("float32")

    @tf.function(input_signature=[tf.TensorSpec([None, None, 2], tf.float32, name="measured")])
    def kalman(measured: tf.Tensor) -> dict[str, tf.Tensor]:
        steps, batch = tf.shape(measured)[0], tf.shape(measured)[1]

        def step(
            index: tf.Tensor, state: tf.Tensor, spread: tf.Tensor, track: tf.TensorArray
        ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor, tf.TensorArray]:
            state = tf.linalg.matmul(state, move, transpose_b=True)
            spread = move @ spread @ move.T + drift
            # Both axes are measured alike and apart: the 2x2 matrix to invert is a number times the identity.
            gain = (spread @ see.T) / (spread[0, 0] + 0.25)
            state += tf.linalg.matmul(measured[index] - state[:, :2], gain, transpose_b=True)
            spread -= gain @ see @ spread
            return index + 1, state, spread, track.write(index, state)

        start = (tf.constant(0), tf.zeros([batch, 4]), tf.eye(4), tf.TensorArray(tf.float32, size=steps))
        shapes = (tf.TensorShape([]), tf.TensorShape([None, 4]), tf.TensorShape([4, 4]), tf.TensorShape(None))
        *_, track = tf.while_loop(lambda index, *_: index < steps, step, start, shape_invariants=shapes)
        return {"track": tf.ensure_shape(track.stack(), [None, None, 4])}

    return kalman


def build_orthogonaliser() -> PolymorphicFunction:
    """Build the iteration for the nearest orthogonal matrix (Bjorck and Bowie 1971, SIAM J. Num. Anal. 8).

    As used to orthogonalise updates (Bernstein and Newhouse 2024, arXiv:2409.20325). `matrix float32[batch, 8, 8]` to
    `rotation float32[batch, 8, 8]`, by 8 turns written out, after a shift that keeps it away from singular ones.

    Returns:
        A `tf.function` with an `input_signature` and a dict of outputs; it has no parameters.
    """
    import tensorflow as tf

    @tf.function(input_signature=[tf.TensorSpec([None, 8, 8], tf.float32, name="matrix")])
    def orthogonaliser(matrix: tf.Tensor) -> dict[str, tf.Tensor]:
        x = matrix + 16.0 * tf.eye(8)
        x /= tf.norm(x, axis=[1, 2], keepdims=True)
        for _ in range(8):
            x = 1.5 * x - 0.5 * x @ tf.linalg.matmul(x, x, transpose_a=True)
        return {"rotation": x}

    return orthogonaliser
