"""Plain `tf.function` programs: no Keras, control flow kept in the graph."""

from __future__ import annotations

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
