"""Keras 3, tf.function and SavedModel through tf2onnx: names and order as declared, nothing left open or left over."""

from __future__ import annotations

import numpy as np
import pytest

tf = pytest.importorskip("tensorflow")
keras = pytest.importorskip("keras")
pytest.importorskip("tf2onnx")
layers = keras.layers

from pytest_onnxprep.errors import ExporterError, ExportFailed, SourceError  # noqa: E402
from pytest_onnxprep.exporters import tf2onnx as exporter_module  # noqa: E402


def sequential():
    """A small net with running statistics."""
    return keras.Sequential(
        [layers.Input((4,)), layers.Dense(5, activation="relu"), layers.BatchNormalization(), layers.Dense(2)]
    )


def two_by_two():
    """Two inputs and two outputs whose names do not sort in the order they stand in."""
    b, a = layers.Input((3,), name="b_in"), layers.Input((4,), name="a_in")
    joined = layers.Concatenate()([b, a])
    return keras.Model([b, a], [layers.Dense(2, name="zz")(joined), layers.Dense(1, name="aa")(joined)])


def of_dicts():
    """Dicts in and out."""
    q, c = layers.Input((3,), name="q"), layers.Input((4,), name="c")
    joined = layers.Concatenate()([q, c])
    return keras.Model({"q": q, "c": c}, {"z": layers.Dense(2)(joined), "a": layers.Dense(1)(joined)})


def of_nested():
    """A list in a list."""
    a, b, c = (layers.Input((size,), name=name) for size, name in ((3, "a"), (4, "b"), (2, "c")))
    return keras.Model([a, [b, c]], layers.Dense(2, name="out")(layers.Concatenate()([a, b, c])))


class Subclassed(keras.Model):
    def __init__(self):
        super().__init__()
        self.dense = layers.Dense(3)
        self.norm = layers.BatchNormalization()

    def call(self, x, y, training=False):
        return {"s": self.norm(self.dense(x), training=training) + y, "a": y}


class Packed(keras.Model):
    def __init__(self, as_dict):
        super().__init__()
        self.as_dict = as_dict
        self.dense = layers.Dense(3)

    def call(self, inputs):
        a, b = (inputs["a"], inputs["b"]) if self.as_dict else inputs
        return self.dense(a) + b


@pytest.mark.parametrize("opset", [9, 17, 18])
def test_sequential(export, opset):
    """A Sequential model at both ends of the range of opsets: dims named, the opset the one asked for."""
    model = export(sequential(), opset=opset)

    assert model.opset == opset
    assert export.inputs(model) == {"input_layer": ["batch", 4]}
    export.agrees(model, batch=5)


@pytest.mark.parametrize("opset", [8, 19])
def test_opset_beside_the_range(export, opset):
    """tf2onnx knows 9 to 18."""
    with pytest.raises(ExporterError, match=r"tf2onnx 9\.\.18"):
        export(sequential(), opset=opset)


def test_names_and_order_of_the_model(export):
    """Inputs and outputs stand in the model's order under the user's names."""
    model = export(two_by_two())

    assert list(export.inputs(model)) == ["b_in", "a_in"]
    assert list(export.outputs(model)) == ["zz", "aa"]
    export.agrees(model, batch=3)


def test_names_and_order_as_declared(export):
    """Declared inputs bind by name, declared outputs select by name, both keep the declared order and dims."""
    model = export(
        two_by_two(),
        inputs={"a_in": "float32[n, 4]", "b_in": "float32[n, 3]"},
        outputs={"aa": "float32[n, 1]", "zz": "float32[n, 2]"},
    )

    assert export.inputs(model) == {"a_in": ["n", 4], "b_in": ["n", 3]}
    assert export.outputs(model) == {"aa": ["n", 1], "zz": ["n", 2]}
    export.agrees(model, n=1)


def test_other_names_bind_in_order(export):
    """Names the model does not know rename inputs and outputs."""
    model = export(
        two_by_two(), inputs={"left": "float32[n, 3]", "right": "float32[n, 4]"}, outputs=["first", "second.x"]
    )

    assert (list(export.inputs(model)), list(export.outputs(model))) == (["left", "right"], ["first", "second.x"])
    export.agrees(model, n=4)


@pytest.mark.parametrize("build", [of_dicts, of_nested])
def test_structures(export, build):
    """Dicts and nested lists are packed the way the model was built."""
    export.agrees(export(build()), batch=3)


def test_dict_outputs_keep_their_keys(export):
    """The keys are the names."""
    assert list(export.outputs(export(of_dicts()))) == ["z", "a"]


@pytest.mark.parametrize("names", [("x", "y"), ("y", "x")])
def test_subclassed_model_binds_by_name(export, names):
    """Inputs named after the parameters of ``call`` go there, in whatever order they were declared."""
    widths = {"x": 4, "y": 3}
    model = export(Subclassed(), inputs={name: f"float32[n, {widths[name]}]" for name in names})

    assert list(export.outputs(model)) == ["s", "a"]
    export.agrees(model, n=3)


def test_subclassed_model_binds_in_order(export):
    """Other names bind in order."""
    export.agrees(export(Subclassed(), inputs={"p": "float32[n, 4]", "q": "float32[n, 3]"}), n=3)


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("as_dict", [True, False])
def test_subclassed_model_of_one_parameter(export, as_dict):
    """``call(self, inputs)`` gets a dict or a list, whichever it takes."""
    export.agrees(export(Packed(as_dict), inputs={"a": "float32[n, 4]", "b": "float32[n, 3]"}), n=3)


def test_subclassed_model_has_to_be_declared(export):
    """Nothing tells what it takes."""
    with pytest.raises(SourceError, match="does not say what it takes: write inputs="):
        export(Subclassed())


def test_several_outputs_of_one_layer(export):
    """An LSTM's states bear the layer's name each; they are told apart."""
    signal = layers.Input((4, 2), name="signal")
    states = layers.LSTM(3, return_state=True, name="rnn")(signal)
    model = export(keras.Model(signal, states))

    assert list(export.outputs(model)) == ["rnn", "rnn_1", "rnn_2"]
    export.agrees(model, batch=3)


def test_exact_gelu_is_translated(export):
    """tf2onnx has no Erfc; the plugin brings it, beside handlers of the user's own."""
    net = keras.Sequential([layers.Input((4,)), layers.Dense(5), layers.Activation(_exact_gelu)])
    for options in ({}, {"custom_op_handlers": {"Nothing": (None, [])}}):
        model = export(net, options=options)
        feeds = {"input_layer": np.linspace(-3, 3, 8, dtype=np.float32).reshape(2, 4)}

        assert model.operators["Erf"] == 1
        (value,), (expected,) = model.run(feeds).values(), model.reference(feeds).values()
        np.testing.assert_allclose(value, expected, atol=1e-6)


@pytest.mark.parametrize("exporter", ["tf2onnx", "keras"])
def test_bfloat16_is_no_float16(export, exporter):
    """tf2onnx alone writes the other one, which has no numbers above 65504."""
    net = keras.Sequential(
        [layers.Input((4,)), layers.Activation(lambda x: tf.cast(tf.cast(x, "bfloat16"), "float32"))]
    )
    net.build()
    model = export(net, exporter)
    (value,) = model.run({"input_layer": np.full((1, 4), 70_001, np.float32)}).values()

    assert value.tolist() == [[70_144] * 4]


@pytest.mark.parametrize("kind", ["tf2onnx", "keras", "saved"])
def test_grouped_convolutions(export, tmp_path, kind):
    """Keras compiles them with XLA, as functions that tf2onnx does not inline by itself."""
    net = keras.Sequential([layers.Input((6, 6, 4)), layers.Conv2D(8, 3, groups=2), layers.Conv2D(8, 3, groups=8)])
    if kind == "saved":
        net.export(tmp_path / "saved", verbose=False)
        model = export(str(tmp_path / "saved"))
    else:
        model = export(net, kind)
    (name,) = model.signature.inputs
    feeds = {name: np.random.default_rng(0).normal(size=(2, 6, 6, 4)).astype("float32")}

    assert model.operators["Conv"] == 2
    (value,), (expected,) = model.run(feeds).values(), model.reference(feeds).values()
    np.testing.assert_allclose(value, expected, atol=1e-5)


def test_operators_left_over_are_named(export):
    """tf2onnx leaves what it does not know in the graph and returns; its own words are attached."""
    net = keras.Sequential([layers.Input((4, 4)), layers.Lambda(lambda x: tf.linalg.svd(x, compute_uv=False))])

    with pytest.raises(ExportFailed, match="does not have: Svd") as caught:
        export(net)
    assert "Tensorflow op" in dict(caught.value.result.sections)["converter output"]


def _exact_gelu(x):
    return keras.activations.gelu(x, approximate=False)


def test_running_statistics_stay(export):
    """An export leaves the variables of the model as they were."""
    net = sequential()
    before = [variable.numpy().copy() for variable in net.variables]
    export(net)

    assert all((old == new.numpy()).all() for old, new in zip(before, net.variables, strict=True))


def test_keras_messages_tell_the_reason(export):
    """Keras says first in which layer, then what: both are in the message, without the bold print."""
    with pytest.raises(SourceError, match="refuses its own example") as caught:
        export(Subclassed(), inputs={"x": "float32[n, 4]", "y": "float32[n, 5]"})

    assert "(in Subclassed.call())" in str(caught.value)
    assert "\x1b" not in str(caught.value)


def signed(function, *shapes):
    """A tf.function with an input signature."""
    return tf.function(function, input_signature=[tf.TensorSpec(shape, tf.float32) for shape in shapes])


def test_function_with_a_signature(export):
    """The parameters name the inputs, and the order they are declared in does not matter."""
    model = export(
        signed(lambda x, y: (x + 1, {"d": x * y}), [None, 3], [None, 3]),
        inputs={"y": "float32[n, 3]", "x": "float32[n, 3]"},
    )

    assert export.inputs(model) == {"y": ["n", 3], "x": ["n", 3]}
    assert list(export.outputs(model)) == ["output_0", "output_1.d"]
    export.agrees(model, n=4)


def test_function_without_a_signature(export):
    """Its inputs have to be declared; then it works."""
    function = tf.function(lambda x: x * 2)
    with pytest.raises(SourceError, match="does not say what it takes"):
        export(function)

    export.agrees(export(function, inputs={"x": "float32[n, 3]"}), n=5)


class Holder(tf.Module):
    def __init__(self):
        self.weight = tf.Variable(np.ones((3, 2), np.float32))
        self.table = tf.constant(np.arange(600, dtype=np.float32).reshape(300, 2))

    @tf.function(input_signature=[tf.TensorSpec([None, 3], tf.float32)])
    def forward(self, x):
        return {"y": x @ self.weight + tf.reduce_sum(self.table, 0)}

    @tf.function
    def unsigned(self, x):
        return x @ self.weight


def test_methods(export):
    """Functions of a tf.Module carry its variables along; captured constants are no inputs of the file."""
    holder = Holder()
    model = export(holder.forward)

    assert export.inputs(model) == {"x": ["batch", 3]}
    export.agrees(model, batch=3)
    export.agrees(export(holder.unsigned, inputs={"x": "float32[n, 3]"}), n=3)


@pytest.mark.parametrize("size", [3, 300])
def test_captured_constant_is_frozen(export, size):
    """A tensor made outside the function, small or large, ends up in the file."""
    constant = tf.constant(np.linspace(0, 1, size, dtype=np.float32))
    model = export(signed(lambda x: x * constant, [None, size]))

    assert list(export.inputs(model)) == ["x"]
    export.agrees(model, batch=2)


def test_saved_model_folder(export, tmp_path):
    """The serving signature of a folder: variables and constants frozen, names kept."""
    holder = Holder()
    tf.saved_model.save(holder, str(tmp_path / "saved"), signatures=holder.forward)
    model = export(str(tmp_path / "saved"))

    assert (export.inputs(model), list(export.outputs(model))) == ({"x": ["batch", 3]}, ["y"])
    export.agrees(model, batch=5)


def test_exported_keras_model(export, tmp_path):
    """``model.export`` writes a SavedModel as well."""
    sequential().export(tmp_path / "saved", verbose=False)

    export.agrees(export(str(tmp_path / "saved")), batch=3)


def test_same_tensor_twice_and_an_input_nobody_uses(export):
    """Outputs that are one tensor stay apart, and an unused input stays."""
    model = export(signed(lambda x, _unused: {"b": x, "a": x}, [None, 3], [None]))

    assert (list(export.inputs(model)), list(export.outputs(model))) == (["x", "_unused"], ["b", "a"])
    export.agrees(model, batch=3)


def test_unsupported_operator(export):
    """Svd has no translation."""
    with pytest.raises(ExportFailed, match="does not have: Svd"):
        export(signed(lambda x: tf.linalg.svd(x, compute_uv=False), [None, 3, 3]))


def test_large_weights_are_kept_beside_the_file(export, monkeypatch):
    """Beyond the limit the weights go to a file of their own, which counts in the size."""
    monkeypatch.setattr(exporter_module, "EXTERNAL_DATA_BYTES", 1000)
    model = export(keras.Sequential([layers.Input((64,)), layers.Dense(64)]))

    assert [path.name for path in model.files] == ["model.onnx", "model.onnx.data"]
    assert model.size_bytes > 64 * 64 * 4
    export.agrees(model, batch=2)


def test_names_that_tensorflow_does_not_take(export):
    """Dots, spaces and leading underscores are for the file; TensorFlow gets names of its own."""
    model = export(sequential(), inputs={"_pixel.values 1": "float32[n, 4]"}, outputs=["a/b c"])

    assert (list(export.inputs(model)), list(export.outputs(model))) == (["_pixel.values 1"], ["a/b c"])
    export.agrees(model, n=2)
