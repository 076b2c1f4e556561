"""TFLite files: what they say of themselves, how they run, and that what is converted from them is the same."""

from __future__ import annotations

import numpy as np
import pytest

from pytest_onnxprep.api import assert_parity
from pytest_onnxprep.errors import ReferenceRefused, SourceError
from pytest_onnxprep.sources.load import load_source
from pytest_onnxprep.sources.tflite_layout import read_layout
from pytest_onnxprep.spec.verdict import Verdict


@pytest.fixture(scope="module")
def converted(tmp_path_factory):
    """Convert a Keras model, once per name."""
    import keras
    import tensorflow as tf

    folder = tmp_path_factory.mktemp("tflite")

    def representative(model):
        rng = np.random.default_rng(0)
        return [
            [rng.normal(size=(1, *tensor.shape[1:])).astype("float32") for tensor in model.inputs] for _ in range(8)
        ]

    def convert(name, build, kind="float"):
        path = folder / f"{name}_{kind}.tflite"
        if not path.exists():
            keras.utils.set_random_seed(0)
            model = build(keras)
            converter = tf.lite.TFLiteConverter.from_keras_model(model)
            if kind != "float":
                converter.optimizations = [tf.lite.Optimize.DEFAULT]
            if kind in ("int8", "uint8", "quantised"):
                converter.representative_dataset = lambda: iter(representative(model))
            if kind in ("int8", "uint8"):
                converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
                converter.inference_input_type = converter.inference_output_type = getattr(tf, kind)
            path.write_bytes(converter.convert())
        return path

    return convert


def cnn(keras):
    """A small picture classifier."""
    layers = keras.layers
    return keras.Sequential(
        [
            keras.Input((12, 12, 3), name="image"),
            layers.Conv2D(8, 3, activation="relu", padding="same"),
            layers.DepthwiseConv2D(3, activation="relu6"),
            layers.MaxPooling2D(),
            layers.Conv2D(16, 3, strides=2),
            layers.Flatten(),
            layers.Dense(64, activation="gelu"),
            layers.Dense(4, activation="softmax"),
        ]
    )


def lookup(keras):
    """Indices into a table."""
    return keras.Sequential(
        [keras.Input((6,), dtype="int32"), keras.layers.Embedding(23, 4), keras.layers.GlobalAveragePooling1D()]
    )


def two(keras):
    """Two inputs and two outputs, by name."""
    left, right = keras.Input((4,), name="left"), keras.Input((4,), name="right")
    return keras.Model({"left": left, "right": right}, {"sum": left + right, "gap": left - 2 * right})


def test_signature_is_the_files(converted):
    """Names of its signature, the batch open, and the range of indices that the table has rows for."""
    source = load_source(converted("cnn", cnn))
    spec = load_source(converted("lookup", lookup)).derived_signature().inputs
    both = load_source(converted("two", two)).derived_signature().inputs

    assert [str(spec) for spec in source.derived_signature().inputs.values()] == ["float32[batch, 12, 12, 3]"]
    assert source.label == "cnn_float.tflite (LiteRT)"
    assert list(both) == ["left", "right"]
    (indices,) = spec.values()
    assert (indices.dtype, indices.low, indices.high) == ("int32", 0, 23)


@pytest.mark.parametrize("kind", ["float", "dynamic", "quantised", "int8", "uint8"])
def test_every_kind_of_quantisation_is_the_model(onnx_exporter, converted, kind):
    """Steps of integers and of their kernels are told from faults."""
    result = assert_parity(onnx_exporter(converted("cnn", cnn, kind)), max_examples=25)

    assert result.verdict is Verdict.PASS, result.message


def test_names_of_both_ends(onnx_exporter, converted):
    """Inputs and outputs are those of the signature, and outputs can be chosen and renamed."""
    path = converted("two", two)
    model = onnx_exporter(path, opset=17)
    renamed = onnx_exporter(
        path, inputs={"b": "float32[batch, 4]", "a": "float32[batch, 4]"}, outputs=["out1", "out2"], opset=17
    )

    assert [value.name for value in model.session.get_inputs()] == ["left", "right"]
    assert sorted(value.name for value in model.session.get_outputs()) == ["gap", "sum"]
    assert [value.name for value in renamed.session.get_inputs()] == ["b", "a"]
    assert_parity(model, max_examples=10)
    assert_parity(renamed, max_examples=10)


def test_a_planted_fault_is_found(onnx_exporter, converted):
    """Neither the steps nor the other kernels excuse a weight that is wrong."""
    import onnx
    from onnx import numpy_helper

    from pytest_onnxprep.errors import ParityError

    model = onnx_exporter(converted("cnn", cnn, "int8"), opset=18)
    proto = onnx.load(str(model.path))
    found = False
    for tensor in proto.graph.initializer:
        array = numpy_helper.to_array(tensor)
        if array.dtype == np.int8 and array.ndim == 4 and not found:
            changed = array.copy()
            changed[0] = -changed[0]
            tensor.CopyFrom(numpy_helper.from_array(changed, tensor.name))
            found = True
    assert found
    broken = model.path.parent / "broken.onnx"
    onnx.save(proto, str(broken))

    with pytest.raises(ParityError):
        assert_parity(onnx_exporter(converted("cnn", cnn, "int8"), artifact=str(broken)), max_examples=25)


def test_sizes_it_does_not_take(converted):
    """Refused by the interpreter, which goes on with others."""
    source = load_source(converted("cnn", cnn))
    signature = source.derived_signature()

    with pytest.raises(ReferenceRefused):
        source.run({"image": np.zeros((1, 5, 5, 3), "float32")}, signature)
    for batch in (1, 3, 2):
        feeds = {"image": np.zeros((batch, 12, 12, 3), "float32")}
        assert next(iter(source.run(feeds, signature).values())).shape == (batch, 4)
    with pytest.raises(SourceError, match=r"takes 1 \(image\), not 2"):
        source.run({"a": np.zeros(1), "b": np.zeros(1)}, signature)


def test_bias_of_a_matrix_that_is_none(onnx_exporter, converted):
    """tf2onnx would leave the bias out."""
    layout = read_layout(converted("cnn", cnn))

    assert any(operator.code == 9 for operator in layout.operators)
    assert_parity(onnx_exporter(converted("flat", flat)), max_examples=10)


def flat(keras):
    """A dense layer of pictures, with a bias that shows."""
    return keras.Sequential(
        [keras.Input((4, 4, 3)), keras.layers.Flatten(), keras.layers.Dense(5, bias_initializer="ones")]
    )


def recurrent(keras):
    """The interpreter's own LSTM operator keeps its state between calls; every call here is the first."""
    return keras.Sequential([keras.Input((7, 5), batch_size=1), keras.layers.Bidirectional(keras.layers.LSTM(4))])


def test_recurrent_layers(onnx_exporter, converted):
    """Loops of the file become loops of the graph."""
    assert assert_parity(onnx_exporter(converted("rnn", recurrent)), max_examples=10).verdict is Verdict.PASS


def test_fingerprint_is_the_content(converted, tmp_path):
    """Another name is the same model."""
    path = converted("cnn", cnn)
    copy = tmp_path / "copy.tflite"
    copy.write_bytes(path.read_bytes())

    assert load_source(copy).fingerprint() == load_source(path).fingerprint()


def test_operators_nobody_has(converted, tmp_path):
    """A custom operator is named."""
    from tensorflow.lite.tools import flatbuffer_utils

    model = flatbuffer_utils.convert_bytearray_to_object(bytearray(converted("flat", flat).read_bytes()))
    model.operatorCodes[0].builtinCode = model.operatorCodes[0].deprecatedBuiltinCode = 32
    model.operatorCodes[0].customCode = "MyOwnOperator"
    path = tmp_path / "custom.tflite"
    path.write_bytes(bytes(flatbuffer_utils.convert_object_to_bytearray(model)))

    with pytest.raises(SourceError, match="holds operators \\(MyOwnOperator\\) that neither the interpreter nor ONNX"):
        load_source(path)


def fused_lstm(path, time_major):
    """A file of one UNIDIRECTIONAL_SEQUENCE_LSTM, as older converters made of Keras's layer."""
    from tensorflow.lite.python import schema_py_generated as schema
    from tensorflow.lite.tools import flatbuffer_utils

    rng = np.random.default_rng(0)
    batch, steps, width, hidden = 2, 5, 3, 4
    model = schema.ModelT()
    model.version, model.buffers, model.description = 3, [schema.BufferT()], b"lstm"
    graph = schema.SubGraphT()
    graph.name, graph.tensors = b"main", []

    def tensor(name, shape, values=None, variable=False):
        made = schema.TensorT()
        made.name, made.shape, made.type, made.isVariable = name.encode(), np.array(shape, np.int32), 0, variable
        made.buffer = 0
        if values is not None:
            buffer = schema.BufferT()
            buffer.data = np.frombuffer(values.astype("<f4").tobytes(), np.uint8)
            model.buffers.append(buffer)
            made.buffer = len(model.buffers) - 1
        graph.tensors.append(made)
        return len(graph.tensors) - 1

    def weights(name, *shape):
        return tensor(name, shape, rng.normal(size=shape) / 2)

    ends = (steps, batch) if time_major else (batch, steps)
    data = tensor("data", (*ends, width))
    kernels = [weights(f"kernel{gate}", hidden, width) for gate in range(4)]
    recurrents = [weights(f"recurrent{gate}", hidden, hidden) for gate in range(4)]
    biases = [weights(f"bias{gate}", hidden) for gate in range(4)]
    states = [tensor(name, (batch, hidden), variable=True) for name in ("h", "c")]
    output = tensor("output", (*ends, hidden))
    code = schema.OperatorCodeT()
    code.builtinCode = code.deprecatedBuiltinCode = 44
    code.version = 1
    model.operatorCodes = [code]
    operator = schema.OperatorT()
    inputs = [data, *kernels, *recurrents, -1, -1, -1, *biases, -1, -1, *states, -1, -1, -1, -1]
    operator.opcodeIndex, operator.inputs = 0, np.array(inputs, np.int32)
    operator.outputs = np.array([output], np.int32)
    operator.builtinOptionsType = schema.BuiltinOptions.UnidirectionalSequenceLSTMOptions
    operator.builtinOptions = schema.UnidirectionalSequenceLSTMOptionsT()
    operator.builtinOptions.fusedActivationFunction = 4  # tanh
    operator.builtinOptions.timeMajor = time_major
    graph.inputs, graph.outputs = np.array([data], np.int32), np.array([output], np.int32)
    graph.operators, model.subgraphs = [operator], [graph]
    path.write_bytes(bytes(flatbuffer_utils.convert_object_to_bytearray(model)))
    return path


@pytest.mark.parametrize("time_major", [False, True])
@pytest.mark.parametrize("opset", [11, 18])
def test_fused_lstm(onnx_exporter, tmp_path, time_major, opset):
    """The interpreter's own LSTM is ONNX's, with its gates in another order, and starts afresh in every call."""
    model = onnx_exporter(fused_lstm(tmp_path / "lstm.tflite", time_major), opset=opset)

    assert model.operators["LSTM"] == 1
    assert assert_parity(model, max_examples=10).verdict is Verdict.PASS


def test_sparse_weights():
    """Weights kept without their zeros, made dense for the converter."""
    from tensorflow.lite.python import schema_py_generated as schema

    from pytest_onnxprep.sources.tflite_rewrite import _dense

    dense = np.zeros((4, 6), np.float32)
    dense[0, 1], dense[2, 5], dense[3, 0], dense[3, 4] = 1, 2, 3, 4
    rows, columns = schema.DimensionMetadataT(), schema.DimensionMetadataT()
    rows.format, rows.denseSize = 0, 4
    columns.format = 1
    columns.arraySegments, columns.arrayIndices = schema.Uint8VectorT(), schema.Uint8VectorT()
    columns.arraySegments.values = np.array([0, 1, 1, 2, 4], np.uint8)
    columns.arrayIndices.values = np.array([1, 5, 0, 4], np.uint8)
    sparsity = schema.SparsityParametersT()
    sparsity.traversalOrder, sparsity.blockMap = np.array([0, 1]), None
    sparsity.dimMetadata = [rows, columns]

    np.testing.assert_array_equal(_dense(sparsity, np.array([1, 2, 3, 4], np.float32), [4, 6]), dense)
