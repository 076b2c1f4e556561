"""A ``.tflite`` model brought into the form that tf2onnx reads rightly, as TensorFlow's own flatbuffer objects.

tf2onnx 1.17 does not read sparse weights, takes tensors for the same that have one name, leaves out the bias of a
TRANSPOSE_CONV and of a FULLY_CONNECTED whose input is no matrix, and knows none of MediaPipe's operators.
"""

from __future__ import annotations

import copy
from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np

_ADD, _FULLY_CONNECTED, _RESHAPE, _TRANSPOSE_CONV, _DENSIFY, _CUSTOM = 0, 9, 22, 67, 124, 32
_FLOAT32, _INT32 = 0, 2
_ADD_OPTIONS, _RESHAPE_OPTIONS, _TRANSPOSE_CONV_OPTIONS = 11, 17, 49
#: numpy's dtype of a tensor type that weights may have.
_DTYPES = {0: np.float32, 1: np.float16, 2: np.int32, 3: np.uint8, 9: np.int8}
_SPARSE = 1


def rewritten(path: Path) -> Any:
    """The file as a ``ModelT``, every graph rewritten."""
    from tensorflow.lite.python import schema_py_generated as schema
    from tensorflow.lite.tools import flatbuffer_utils

    data = path.read_bytes()
    model = flatbuffer_utils.convert_bytearray_to_object(bytearray(data))
    for buffer in model.buffers:
        if buffer.offset > 1:  # kept behind the flatbuffer, where the file is large
            buffer.data = np.frombuffer(data, np.uint8, buffer.size, buffer.offset)
            buffer.offset = buffer.size = 0
    for graph in model.subgraphs:
        _Graph(schema, model, graph).rewrite()
    return model


def with_float_weights(path: Path, weights: Collection[int]) -> Any:
    """The file as a ``ModelT``, weights of the main graph that are kept in steps as floats."""
    from tensorflow.lite.tools import flatbuffer_utils

    model = flatbuffer_utils.convert_bytearray_to_object(bytearray(path.read_bytes()))
    for index in weights:
        tensor = model.subgraphs[0].tensors[index]
        steps = np.frombuffer(np.asarray(model.buffers[tensor.buffer].data, np.uint8).tobytes(), _DTYPES[tensor.type])
        scales, zeros = (np.asarray(values) for values in (tensor.quantization.scale, tensor.quantization.zeroPoint))
        along = [1] * len(tensor.shape)
        if len(scales) > 1:
            along[tensor.quantization.quantizedDimension] = len(scales)
        values = (steps.reshape(tensor.shape).astype(np.float32) - zeros.reshape(along)) * scales.reshape(along)
        buffer = copy.copy(model.buffers[tensor.buffer])  # two tensors may share one
        buffer.data = np.frombuffer(values.astype(np.float32).tobytes(), np.uint8)
        model.buffers.append(buffer)
        tensor.buffer, tensor.type, tensor.quantization = len(model.buffers) - 1, _FLOAT32, None
    return model


def write(model: Any, path: Path) -> None:
    """Write a ``ModelT`` as a file."""
    from tensorflow.lite.tools import flatbuffer_utils

    path.write_bytes(bytes(flatbuffer_utils.convert_object_to_bytearray(model)))


class _Graph:
    """One graph on its way."""

    def __init__(self, schema: Any, model: Any, graph: Any) -> None:
        self._schema, self._model, self._graph = schema, model, graph

    def rewrite(self) -> None:
        for tensor in self._graph.tensors:
            if tensor.sparsity is not None:
                self._densify(tensor)
        self._tell_apart()
        aliases: dict[int, int] = {}
        operators = []
        for operator in self._graph.operators or ():
            operator.inputs = np.array([aliases.get(int(i), int(i)) for i in operator.inputs], np.int32)
            kind = self._model.operatorCodes[operator.opcodeIndex]
            code = max(kind.builtinCode, kind.deprecatedBuiltinCode)
            if code == _DENSIFY:
                aliases[int(operator.outputs[0])] = int(operator.inputs[0])
            elif code == _CUSTOM and kind.customCode == b"Convolution2DTransposeBias":
                operators += self._transposed(operator, _mediapipe_options(operator), int(operator.inputs[2]))
            elif code == _TRANSPOSE_CONV and len(operator.inputs) == 4 and operator.inputs[3] >= 0:
                operators += self._with_bias_apart(operator)
            elif code == _FULLY_CONNECTED and not operator.builtinOptions.keepNumDims:
                operators += self._as_matrix(operator)
            else:
                operators.append(operator)
        self._graph.operators = operators
        self._graph.outputs = np.array([aliases.get(int(i), int(i)) for i in self._graph.outputs], np.int32)

    def _tell_apart(self) -> None:
        """Give tensors of one name names of their own; the ends of the graph keep theirs."""
        ends = [int(index) for index in (*self._graph.inputs, *self._graph.outputs)]
        taken: set[bytes] = set()
        for index in dict.fromkeys([*ends, *range(len(self._graph.tensors))]):
            tensor = self._graph.tensors[index]
            name = tensor.name or b"tensor"
            tensor.name = name if name not in taken else b"%b__%d" % (name, index)
            taken.add(tensor.name)

    def _densify(self, tensor: Any) -> None:
        buffer = self._model.buffers[tensor.buffer]
        values = np.frombuffer(np.asarray(buffer.data, np.uint8).tobytes(), _DTYPES[tensor.type])
        buffer.data = np.frombuffer(_dense(tensor.sparsity, values, list(tensor.shape)).tobytes(), np.uint8)
        tensor.sparsity = None

    def _transposed(self, operator: Any, options: Any, bias: int) -> list[Any]:
        """MediaPipe's transposed convolution: TensorFlow's own, and the bias added."""
        data, weights = int(operator.inputs[0]), int(operator.inputs[1])
        output = int(operator.outputs[0])
        shape = self._constant(self._graph.tensors[output].shape, b"shape")
        operator.opcodeIndex = self._code(_TRANSPOSE_CONV)
        operator.customOptions = None
        operator.builtinOptionsType, operator.builtinOptions = _TRANSPOSE_CONV_OPTIONS, options(self._schema)
        operator.inputs = np.array([shape, weights, data, bias], np.int32)
        return self._with_bias_apart(operator)

    def _with_bias_apart(self, operator: Any) -> list[Any]:
        bias, output = int(operator.inputs[3]), int(operator.outputs[0])
        inner = self._tensor(output, b"without_bias")
        self._graph.tensors[inner].type, self._graph.tensors[inner].quantization = _FLOAT32, None
        if self._graph.tensors[output].type != _FLOAT32 and self._graph.tensors[output].quantization is None:
            return [operator]
        operator.inputs, operator.outputs = operator.inputs[:3], np.array([inner], np.int32)
        add = self._schema.OperatorT()
        add.opcodeIndex = self._code(_ADD)
        add.inputs, add.outputs = np.array([inner, bias], np.int32), np.array([output], np.int32)
        add.builtinOptionsType, add.builtinOptions = _ADD_OPTIONS, self._schema.AddOptionsT()
        add.builtinOptions.fusedActivationFunction = operator.builtinOptions.fusedActivationFunction
        operator.builtinOptions.fusedActivationFunction = 0
        return [operator, add]

    def _as_matrix(self, operator: Any) -> list[Any]:
        """Make a matrix of an input first: tf2onnx does so itself, and loses the bias."""
        data, weights = (self._graph.tensors[int(index)] for index in operator.inputs[:2])
        if len(data.shape) == 2 or len(operator.inputs) < 3 or operator.inputs[2] < 0:
            return [operator]
        width = int(weights.shape[1])
        matrix = self._tensor(int(operator.inputs[0]), b"matrix")
        rows = int(np.prod(data.shape)) // width
        open_sizes = data.shapeSignature is not None and -1 in list(data.shapeSignature)
        self._graph.tensors[matrix].shape = np.array([rows, width], np.int32)
        self._graph.tensors[matrix].shapeSignature = np.array([-1 if open_sizes else rows, width], np.int32)
        reshape = self._schema.OperatorT()
        reshape.opcodeIndex = self._code(_RESHAPE)
        reshape.inputs = np.array([operator.inputs[0], self._constant([-1, width], b"matrix_shape")], np.int32)
        reshape.outputs = np.array([matrix], np.int32)
        reshape.builtinOptionsType, reshape.builtinOptions = _RESHAPE_OPTIONS, self._schema.ReshapeOptionsT()
        reshape.builtinOptions.newShape = np.array([-1, width], np.int32)
        operator.inputs = np.array([matrix, *operator.inputs[1:]], np.int32)
        return [reshape, operator]

    def _code(self, builtin: int) -> int:
        code = self._schema.OperatorCodeT()
        code.deprecatedBuiltinCode = code.builtinCode = builtin
        code.version = 3
        self._model.operatorCodes.append(code)
        return len(self._model.operatorCodes) - 1

    def _tensor(self, like: int, suffix: bytes) -> int:
        tensor = copy.deepcopy(self._graph.tensors[like])
        tensor.name = b"%b__%b_%d" % (tensor.name, suffix, len(self._graph.tensors))
        tensor.buffer = 0
        self._graph.tensors.append(tensor)
        return len(self._graph.tensors) - 1

    def _constant(self, numbers: Any, name: bytes) -> int:
        values = np.array(numbers, np.int32)
        buffer = self._schema.BufferT()
        buffer.data = np.frombuffer(values.tobytes(), np.uint8)
        self._model.buffers.append(buffer)
        tensor = self._schema.TensorT()
        tensor.name = b"%b__%d" % (name, len(self._graph.tensors))
        tensor.shape, tensor.type, tensor.buffer = (
            np.array(values.shape, np.int32),
            _INT32,
            len(self._model.buffers) - 1,
        )
        self._graph.tensors.append(tensor)
        return len(self._graph.tensors) - 1


def _mediapipe_options(operator: Any) -> Any:
    """``TfLiteTransposeConvParams`` as it lies in memory: padding (1 same, 2 valid), strides of width and height."""
    padding, width, height = np.frombuffer(np.asarray(operator.customOptions, np.uint8).tobytes(), np.int32, 3)

    def options(schema: Any) -> Any:
        made = schema.TransposeConvOptionsT()
        made.padding, made.strideW, made.strideH = int(padding) - 1, int(width), int(height)
        made.fusedActivationFunction = 0
        return made

    return options


def _dense(sparsity: Any, values: np.ndarray, shape: list[int]) -> np.ndarray:
    """The dense form of TFLite's sparse one (levels in the order they are traversed, blocks last)."""
    rank = len(shape)
    blocked = [] if sparsity.blockMap is None else [int(axis) for axis in sparsity.blockMap]
    entries = np.zeros(1, np.int64)
    at: dict[int, np.ndarray] = {}
    block_sizes: dict[int, int] = {}
    for level, level_axis in enumerate(sparsity.traversalOrder):
        described = sparsity.dimMetadata[level]
        if described.format == _SPARSE:
            segments = np.asarray(described.arraySegments.values, np.int64)
            counts = segments[entries + 1] - segments[entries]
            parents = np.repeat(np.arange(len(entries)), counts)
            starts = np.repeat(segments[entries], counts)
            within = np.arange(len(parents)) - np.repeat(np.cumsum(counts) - counts, counts)
            entries = starts + within
            coordinate = np.asarray(described.arrayIndices.values, np.int64)[entries]
        else:
            size = int(described.denseSize)
            parents = np.repeat(np.arange(len(entries)), size)
            coordinate = np.tile(np.arange(size), len(entries))
            entries = entries[parents] * size + coordinate
            block_sizes[int(level_axis)] = size
        at = {axis: found[parents] for axis, found in at.items()}
        at[int(level_axis)] = coordinate
    index = []
    for axis in range(rank):
        place = at[axis]
        if axis in blocked:
            block = rank + blocked.index(axis)
            place = place * block_sizes[block] + at[block]
        index.append(place)
    dense = np.zeros(shape, values.dtype)
    dense[tuple(index)] = values[entries]
    return dense
