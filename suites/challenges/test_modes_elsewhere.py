"""Dropout and normalisation in the wrong mode, in Keras and JAX; PyTorch's are in `test_module_features_torch.py`."""

import pytest

from pytest_onnxprep import ExportFailed, ParityError, assert_parity, onnx_export, parity

keras = pytest.importorskip("keras")
pytest.importorskip("tf2onnx")
jax = pytest.importorskip("jax")
pytest.importorskip("jax2onnx")
eqx = pytest.importorskip("equinox")
nnx = pytest.importorskip("flax.nnx")

X = {"inputs": {"x": "float32[batch, 4]"}, "dims": {"batch": (1, 4)}}

# -- Keras --------------------------------------------------------------------------------------------------------


class Called(keras.Model):
    """Calls its layers by hand, in a mode of its own."""

    def __init__(self, layer, training):
        super().__init__()
        keras.utils.set_random_seed(0)
        self.dense, self.layer, self.mode = keras.layers.Dense(8), layer, training

    def call(self, x, training=False):
        return self.layer(self.dense(x), training=training if self.mode is None else self.mode)


def functional(layer):
    """The mode is written into the model, but what calls a model has the last word, as `predict` does."""
    keras.utils.set_random_seed(0)
    x = keras.Input((4,), name="x")
    return keras.Model(x, layer(keras.layers.Dense(8)(x), training=True))


def build_dropout():
    return Called(keras.layers.Dropout(0.5, name="drop"), training=None)


@onnx_export(build_dropout, **X)
@parity()
def test_keras_inference_mode(onnx_model):
    assert set(onnx_model.operators) <= {"MatMul", "Gemm", "Add"}


@pytest.mark.parametrize("exporter", ["tf2onnx", "keras"])
def test_keras_active_dropout(onnx_exporter, exporter):
    with pytest.raises(
        ExportFailed, match=r"StatelessRandomUniformV2 draws random numbers: dropout or noise is active"
    ):
        onnx_exporter(lambda: Called(keras.layers.Dropout(0.5), training=True), **X, exporter=exporter)


@onnx_export(lambda: Called(keras.layers.BatchNormalization(), training=True), **X)
@parity()
def test_keras_normalisation_by_the_batch(onnx_model):
    """A model that normalises by its batch is exported as that: nothing is random, and the answer is the model's."""
    assert onnx_model.operators["ReduceMean"] == 2


@pytest.mark.parametrize(
    "layer", [lambda: keras.layers.Dropout(0.5), keras.layers.BatchNormalization], ids=["dropout", "normalisation"]
)
def test_keras_mode_written_into_a_functional_model(onnx_exporter, layer):
    """Called in inference mode it is in inference mode, whatever was written into it, and so is the file."""
    model = onnx_exporter(lambda: functional(layer()), **X, exporter="tf2onnx")
    assert not {"ReduceMean", "RandomUniform"} & set(model.operators)
    assert assert_parity(model, max_examples=20).verdict.value == "pass"


def test_keras_export_forgets_the_mode(onnx_exporter):
    """Keras's own export calls the model without a mode, so that the one written into it holds: it is caught."""
    build = lambda: functional(keras.layers.BatchNormalization(name="norm"))  # noqa: E731
    with pytest.raises(ParityError, match="'norm' differs"):
        assert_parity(onnx_exporter(build, **X, exporter="keras"))


# -- JAX ----------------------------------------------------------------------------------------------------------


class Layers(nnx.Module):
    def __init__(self, layer):
        self.dense, self.layer = nnx.Linear(4, 8, rngs=nnx.Rngs(0)), layer

    def __call__(self, x):
        return self.layer(self.dense(x))


def dropout():
    return Layers(nnx.Dropout(0.5, rngs=nnx.Rngs(1)))


def normalisation():
    return Layers(nnx.BatchNorm(8, rngs=nnx.Rngs(1)))


def evaluated(build):
    model = build()
    model.eval()
    return model


@pytest.mark.parametrize(
    ("build", "words"),
    [(dropout, r"dropout is active: 'layer' \(Dropout\)"), (normalisation, r"train mode: 'layer' \(BatchNorm\)")],
    ids=["dropout", "normalisation"],
)
def test_nnx_train_mode(onnx_exporter, build, words):
    # A state that changes can be traced or not, by what JAX has traced before; either way the mode is named.
    with pytest.raises((ExportFailed, ParityError), match=words):
        assert_parity(onnx_exporter(build, **X))

    model = onnx_exporter(lambda: evaluated(build), **X)
    assert assert_parity(model, max_examples=20).verdict.value == "pass"


class Stack(eqx.Module):
    """A key of its own makes JAX drop the same elements at every call; the file drops others each time."""

    dense: eqx.nn.Linear
    dropout: eqx.nn.Dropout

    def __call__(self, x):
        return self.dropout(self.dense(x), key=jax.random.key(0))


def stack():
    return Stack(eqx.nn.Linear(4, 8, key=jax.random.key(1)), eqx.nn.Dropout(0.5))


def test_equinox_train_mode(onnx_exporter):
    with pytest.raises(ParityError, match=r"two runs of the file on one input differ(?s:.*)eqx\.nn\.inference_mode"):
        assert_parity(onnx_exporter(stack, inputs={"x": "float32[4]"}))
    with pytest.raises(ParityError, match=r"two runs of the file on one input differ"):
        assert_parity(onnx_exporter(lambda: jax.vmap(stack()), **X))


@onnx_export(lambda: jax.vmap(eqx.nn.inference_mode(stack())), **X)
@parity()
def test_equinox_inference_mode(onnx_model):
    assert onnx_model.operators["Gemm"] == 1
