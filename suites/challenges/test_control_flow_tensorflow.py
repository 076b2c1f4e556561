"""TensorFlow functions and Keras models that decide by values or loop over a dynamic length.

A ``tf.function`` is traced when it runs, so Python that a graph cannot hold fails in TensorFlow itself; a Keras model
runs eagerly, and only its export shows it. Broken forms must be caught, sound forms must pass.
"""

import pytest

from pytest_onnxprep import ExportFailed, onnx_export, parity

tf = pytest.importorskip("tensorflow")
keras = pytest.importorskip("keras")
pytest.importorskip("tf2onnx")

DIMS = {"dims": {"rows": (1, 8)}}


def function(body):
    return tf.function(body, input_signature=[tf.TensorSpec([None, 4], tf.float32, name="x")])


def build_cond():
    return function(lambda x: {"y": tf.cond(tf.reduce_max(x) > 0, lambda: x * 2, lambda: x - 1)})


def build_while_loop():
    def body(x):
        start = tf.reduce_sum(tf.abs(x)) + 1
        (total,) = tf.while_loop(lambda total: total < 100, lambda total: (total * 2,), (start,))
        return {"y": x / total}

    return function(body)


def build_autograph():
    """Python's `for`, `while` and `if`, which tf.function's autograph turns into loops and branches of the graph."""

    def body(x):
        state = tf.zeros(4)
        for row in x:
            state = tf.tanh(state + row)
        total = tf.constant(1.0)
        while total < 10:
            total = total * 3
        if tf.reduce_max(x) > 0:
            state = state * total
        return {"y": state}

    return function(body)


def build_size_branch():
    """Autograph on a size of the graph."""

    def body(x):
        if tf.shape(x)[0] > 4:  # noqa: SIM108 - each branch is a subgraph
            y = x * 2
        else:
            y = x - 1
        return {"y": y}

    return function(body)


class PythonIf(keras.Model):
    def call(self, x):
        return x * 2 if tf.reduce_max(x) > 0 else x - 1


class PythonFor(keras.Model):
    def call(self, x):
        state = tf.zeros(4)
        for row in range(x.shape[0]):
            state = tf.tanh(state + x[row])
        return state


class SizeBranch(keras.Model):
    def call(self, x):
        return x * 2 if x.shape[0] > 4 else x - 1


class TensorSizeBranch(keras.Model):
    def call(self, x):
        return x * 2 if tf.shape(x)[0] > 4 else x - 1


@onnx_export(build_cond, dims={"x_dim0": (1, 8)}, inputs={"x": "float32[x_dim0, 4]"})
@parity()
def test_cond(onnx_model):
    assert onnx_model.operators["If"] == 1


@onnx_export(build_while_loop, inputs={"x": "float32[rows, 4]"}, **DIMS)
@parity()
def test_while_loop(onnx_model):
    assert onnx_model.operators["Loop"] == 1


@onnx_export(build_autograph, inputs={"x": "float32[rows, 4]"}, **DIMS)
@parity()
def test_autograph(onnx_model):
    assert onnx_model.operators["Loop"] == 2  # the `for` over the rows and the `while`
    assert onnx_model.operators["If"] == 1


def test_python_if_in_a_keras_model(onnx_exporter):
    """Eagerly it works; a graph has no truth value to branch on."""
    with pytest.raises(ExportFailed, match=r"(?s)symbolic.*if tf\.reduce_max\(x\) > 0"):
        onnx_exporter(PythonIf, inputs={"x": "float32[rows, 4]"}, **DIMS)


def test_python_for_in_a_keras_model(onnx_exporter):
    """Eagerly the length is a number, in the graph it is None."""
    with pytest.raises(
        ExportFailed, match=r"(?s)'NoneType' object cannot be interpreted as an integer.*range\(x\.shape"
    ):
        onnx_exporter(PythonFor, inputs={"x": "float32[rows, 4]"}, **DIMS)


@onnx_export(build_size_branch, inputs={"x": "float32[rows, 4]"}, **DIMS)
@parity()
def test_autograph_on_a_size(onnx_model):
    assert onnx_model.operators["If"] == 1


@pytest.mark.parametrize(
    ("branch", "words"),
    [
        (SizeBranch, r"'>' not supported between instances of 'NoneType' and 'int'(?s:.*)if x\.shape\[0\] > 4"),
        (TensorSizeBranch, r"symbolic(?s:.*)if tf\.shape\(x\)\[0\] > 4"),
    ],
)
def test_branch_on_a_size_in_a_keras_model(onnx_exporter, branch, words):
    """Neither answer is taken silently: an open size is None there, or a tensor."""
    with pytest.raises(ExportFailed, match=words):
        onnx_exporter(branch, inputs={"x": "float32[rows, 4]"}, **DIMS)
