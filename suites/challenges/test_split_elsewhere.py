"""The third way out of an operator that no exporter knows, in Keras and JAX: its layer stays in its framework.

What comes before and after it is exported, each part and the whole are held to parity.
"""

import pytest

from pytest_onnxprep import ExportFailed, ParityError, Pipeline, Stage, assert_parity, onnx_export, parity

X = {"inputs": {"x": "float32[batch, 4]"}, "dims": {"batch": (1, 4)}}


# -- Keras: singular values, which tf2onnx has no translation of --------------------------------------------------


def keras_body():
    keras = pytest.importorskip("keras")
    keras.utils.set_random_seed(0)
    x = keras.Input((4,), name="x")
    return keras.Model(x, keras.layers.Reshape((2, 2), name="matrix")(keras.layers.Dense(4)(x)))


def keras_spectrum():
    keras = pytest.importorskip("keras")
    import tensorflow as tf

    class Spectrum(keras.layers.Layer):
        def call(self, matrix):
            return tf.linalg.svd(matrix, compute_uv=False)

    matrix = keras.Input((2, 2), name="matrix")
    return keras.Model(matrix, Spectrum(name="spectrum")(matrix))


def keras_head():
    keras = pytest.importorskip("keras")
    keras.utils.set_random_seed(1)
    spectrum = keras.Input((2,), name="spectrum")
    return keras.Model(spectrum, keras.layers.Dense(3, activation="tanh", name="y")(spectrum))


def other_head():
    """A head of other weights than the one that was trained with the rest."""
    keras = pytest.importorskip("keras")
    keras.utils.set_random_seed(2)
    spectrum = keras.Input((2,), name="spectrum")
    return keras.Model(spectrum, keras.layers.Dense(3, activation="tanh", name="y")(spectrum))


def test_keras_whole_is_refused(onnx_exporter):
    pytest.importorskip("tf2onnx")
    with pytest.raises(ExportFailed, match=r"Svd"):
        onnx_exporter(keras_spectrum)


@onnx_export(Pipeline([keras_body, Stage(keras_spectrum, export=False), keras_head]), **X)
@parity()
def test_keras_split(onnx_model):
    assert list(onnx_model.stages) == ["keras_body", "keras_head"]


def test_keras_split_from_another_model(onnx_exporter):
    """The parts must be those of the whole: a head of other weights is caught, and said not to be the conversion's."""
    pytest.importorskip("tf2onnx")

    def whole():
        keras = pytest.importorskip("keras")
        x = keras.Input((4,), name="x")
        return keras.Model(x, keras_head()(keras_spectrum()(keras_body()(x))))

    parts = [keras_body, Stage(keras_spectrum, export=False), Stage(other_head, outputs=["y"])]
    model = onnx_exporter(Pipeline(parts, reference=whole), **X, outputs=["y"])
    with pytest.raises(ParityError, match="'y' differs"):
        assert_parity(model)


# -- JAX: the same ------------------------------------------------------------------------------------------------


def jax_body():
    jax = pytest.importorskip("jax")
    kernel = jax.random.normal(jax.random.key(0), (4, 4))
    return jax.jit(lambda x: {"matrix": (x @ kernel).reshape(-1, 2, 2)})


def jax_spectrum():
    jax = pytest.importorskip("jax")
    return jax.jit(lambda matrix: {"spectrum": jax.numpy.linalg.svdvals(matrix)})


def jax_head():
    jax = pytest.importorskip("jax")
    kernel = jax.random.normal(jax.random.key(1), (2, 3))
    return jax.jit(lambda spectrum: {"y": jax.numpy.tanh(spectrum @ kernel)})


def test_jax_whole_is_refused(onnx_exporter):
    pytest.importorskip("jax2onnx")
    with pytest.raises(ExportFailed, match=r"svd"):
        onnx_exporter(jax_spectrum, inputs={"matrix": "float32[batch, 2, 2]"}, dims={"batch": (1, 4)})


@onnx_export(Pipeline([jax_body, Stage(jax_spectrum, export=False), jax_head]), **X)
@parity()
def test_jax_split(onnx_model):
    assert list(onnx_model.stages) == ["jax_body", "jax_head"]
