"""A ``.tflite`` file, float or quantised, run by the LiteRT interpreter."""

from __future__ import annotations

import functools
import hashlib
import tempfile
import time
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from pytest_onnxprep.errors import ReferenceRefused, SourceError
from pytest_onnxprep.sources import tflite_rewrite
from pytest_onnxprep.sources.base import Arrays, Double, Feeds, Source, name_outputs
from pytest_onnxprep.sources.flatbuffer import Damaged
from pytest_onnxprep.sources.load import one_line
from pytest_onnxprep.sources.source_code import Digest
from pytest_onnxprep.sources.tflite_layout import QUANTIZE, Layout, read_layout
from pytest_onnxprep.sources.trial import failure_of
from pytest_onnxprep.spec.signature import Signature
from pytest_onnxprep.spec.tensor import TensorSpec

#: Which kernels: plain ones, with the delegates an app gets by default (XNNPACK), and the plainest.
PLAIN, DEFAULT, REFERENCE = "BUILTIN_WITHOUT_DEFAULT_DELEGATES", "AUTO", "BUILTIN_REF"
#: Float arithmetic that is one operation in the file and one in the interpreter: what a kernel sums in which order is
#: its own business, so the kernels' answers differ by the model's own rounding.
_ORDERS = (DEFAULT, REFERENCE)
FLOAT_WEIGHTS = "float weights"
_SLOW_S = 0.02
#: Sizes of open axes that a file is tried at, until it runs.
_OPEN_SIZES = (1, 32, 512, 8192)


def load(path: Path) -> TfliteSource:
    """Make a source of a file, after it was read with care and tried out in a child process.

    Raises:
        SourceError: it is damaged, or holds operators that this interpreter does not have.
    """
    try:
        layout = read_layout(path)
    except (Damaged, OSError) as error:
        raise SourceError(f"source {str(path)!r} is damaged, or no .tflite file: {error}; convert it again") from None
    wrong = [t for t in (layout.tensors[i] for i in layout.inputs.values()) if t.dtype in ("resource", "variant")]
    if wrong:
        raise SourceError(f"source {str(path)!r} takes a {wrong[0].dtype} as input, which ONNX Runtime cannot give")
    if layout.is_stateful:
        raise SourceError(
            f"source {str(path)!r} keeps state in variables between its calls (a streaming model), and an ONNX graph "
            "has none: convert the model with its state as inputs and outputs"
        )
    failed = failure_of(try_out, str(path), PLAIN)
    kernels = PLAIN
    if failed and layout.custom and not failure_of(try_out, str(path), DEFAULT):
        kernels, failed = DEFAULT, ""  # XNNPACK has some of MediaPipe's own operators
    if failed:
        raise SourceError(f"source {str(path)!r} does not run in the LiteRT interpreter: {_advice(layout, failed)}")
    return TfliteSource(path, layout, kernels)


class TfliteSource(Source):
    """A file of the LiteRT interpreter, with its plain kernels and one thread; every call starts from its first state.

    Args:
        path: the file.
        layout: what it says of itself.
        kernels: which kernels run it.
    """

    framework = "tflite"

    def __init__(self, path: Path, layout: Layout, kernels: str) -> None:
        self.model = path
        self.layout = layout
        self.label = f"{path.name} (LiteRT)"
        self._runners = {kernels: Runner(path, layout, kernels)}
        self.kernels = kernels
        self.seconds = 0.0

    def derived_signature(self) -> Signature:
        """The signature of the file; open sizes are ``batch`` and ``<input>_dim<axis>``."""
        inputs = {}
        for name, index in self.layout.inputs.items():
            tensor = self.layout.tensors[index]
            shape: list[int | str] = []
            for axis, size in enumerate(tensor.shape):
                shape.append(size if size >= 0 else "batch" if axis == 0 else f"{_identifier(name)}_dim{axis}")
            inputs[name] = TensorSpec(tensor.dtype, tuple(shape), *self._range(index))
        return Signature(inputs)

    def _range(self, index: int) -> tuple[int | None, int | None]:
        """Integers that look rows up stay within the table."""
        tensor = self.layout.tensors[index]
        rows = self.layout.rows_looked_up(index) if tensor.dtype in ("int32", "int64") else None
        return (None, None) if rows is None else (0, rows)

    def run(self, feeds: Feeds, signature: Signature) -> Arrays:
        """See `Source.run`."""
        return dict(self.named(self.run_with(self.kernels, feeds), signature))

    def named(self, outputs: Mapping[str, Any], signature: Signature) -> list[tuple[str, Any]]:
        """The outputs that were asked for, under their names."""
        return name_outputs(list(outputs.items()), signature, self.label)

    def run_with(self, kernels: str, feeds: Feeds) -> Arrays:
        """Run on one kind of kernels.

        Raises:
            ReferenceRefused: the interpreter does not take these sizes or values.
        """
        if kernels not in self._runners:
            self._runners[kernels] = self._runner(kernels)
        started = time.perf_counter()
        try:
            return self._runners[kernels](self.ordered(feeds))
        except SourceError:
            raise
        except Exception as error:
            del self._runners[kernels]  # an interpreter that failed to prepare is in no state to go on
            raise ReferenceRefused(f"{type(error).__name__}: {one_line(error)}") from error
        finally:
            if kernels == self.kernels:
                self.seconds = time.perf_counter() - started

    def _runner(self, kernels: str) -> Runner:
        if kernels != FLOAT_WEIGHTS:
            return Runner(self.model, self.layout, kernels)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "floats.tflite"
            tflite_rewrite.write(tflite_rewrite.with_float_weights(self.model, self.layout.hybrid_weights), path)
            return Runner(path, self.layout, self.kernels)

    def ordered(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Values under the file's own names, whichever way the user calls them.

        Raises:
            SourceError: another number of them.
        """
        own = self.layout.inputs
        if set(values) == set(own):
            return {name: values[name] for name in own}
        tensors = {self.layout.tensors[index].name: name for name, index in own.items()}
        if set(values) == set(tensors):
            return {own_name: values[name] for name, own_name in tensors.items()}
        if len(values) != len(own):
            raise SourceError(f"inputs: {self.label} takes {len(own)} ({', '.join(own)}), not {len(values)}")
        return dict(zip(own, values.values(), strict=True))

    def fingerprint(self) -> Digest:
        """The bytes of the file."""
        return Digest(hashlib.blake2b(self.model.read_bytes(), digest_size=20).hexdigest(), True)

    def in_double(self, signature: Signature) -> Double:
        """The interpreter has no float64; its other kernels show how far rounding carries."""
        return OtherKernels(self, signature)

    def step_of(self, name: str, array: np.ndarray) -> float:
        """The quantisation step of an input's values; 0 where they are taken as they are."""
        index = self.layout.inputs[name]
        for operator in self.layout.operators:
            if operator.code == QUANTIZE and index in operator.inputs:
                return self.layout.tensors[operator.outputs[0]].scale or 0.0
        largest = float(np.abs(array).max()) if array.dtype.kind == "f" and array.size else 0.0
        return largest / 127 if self.layout.hybrid_weights else 0.0

    def release(self) -> None:
        """Let the interpreters of other kernels go."""
        self._runners = {kind: runner for kind, runner in self._runners.items() if kind == self.kernels}


class OtherKernels:
    """The same file on the interpreter's other kernels: other orders of summation, other roundings.

    Weights kept in steps are taken as floats once: what their kernels make of the activations in between is rounding.
    Of a file with quantised values, the inputs are moved by one step besides: that is what rounding means there.
    """

    #: What one of these explains needs no float64: see `Arbiter`.
    speaks_for_rounding = True

    def __init__(self, source: TfliteSource, signature: Signature) -> None:
        self._source = source
        self._signature = signature
        self._ways: list[str] = [*_ORDERS]
        if source.layout.hybrid_weights:
            self._ways.insert(0, FLOAT_WEIGHTS)

    def __call__(self, feeds: Feeds) -> Arrays | None:  # noqa: ARG002 - part of `Double`
        """There is no float64."""
        return None

    def rounded(self, feeds: Feeds, seed: int) -> Arrays | None:
        """The outputs with the kernels of this number; None where there is no further kind."""
        if REFERENCE in self._ways and self._source.seconds > _SLOW_S:
            self._ways.remove(REFERENCE)  # they take twenty times as long
        if seed < len(self._ways):
            kernels, given = self._ways[seed], feeds
        elif self._source.layout.is_quantised:
            kernels, given = self._source.kernels, self._moved(feeds, seed)
        else:
            return None
        try:
            outputs = self._source.run_with(kernels, given)
        except ReferenceRefused:
            return self.rounded(feeds, seed + 1) if seed < len(self._ways) else None
        return dict(self._source.named(outputs, self._signature))

    def _moved(self, feeds: Feeds, seed: int) -> Arrays:
        """Inputs moved by up to half a step, whole numbers by up to one."""
        rng = np.random.default_rng(seed)
        moved = {}
        for name, array in self._source.ordered(feeds).items():
            step = self._source.step_of(name, array)
            if array.dtype.name in ("int8", "uint8"):
                info = np.iinfo(array.dtype)
                wide = array.astype(np.int32) + rng.integers(-1, 2, array.shape)
                moved[name] = np.clip(wide, info.min, info.max).astype(array.dtype)
            else:
                moved[name] = (
                    (array + step * rng.uniform(-0.5, 0.5, array.shape)).astype(array.dtype) if step else array
                )
        return moved


class Runner:
    """One interpreter, sized to the last inputs it was given.

    Args:
        path: the file.
        layout: what it says of itself.
        kernels: which kernels it takes.
    """

    def __init__(self, path: Path, layout: Layout, kernels: str) -> None:
        interpreter, kinds = _interpreter_class()
        self._layout = layout
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that tf.lite moves to a package of its own is between TensorFlow and us
            self._interpreter = interpreter(
                model_path=str(path), experimental_op_resolver_type=getattr(kinds, kernels), num_threads=1
            )
        self._sizes: dict[int, tuple[int, ...]] = {}

    def __call__(self, feeds: Feeds) -> Arrays:
        """Run on feeds under the file's own names."""
        sizes = {self._layout.inputs[name]: array.shape for name, array in feeds.items()}
        if sizes != self._sizes:
            for index, shape in sizes.items():
                self._interpreter.resize_tensor_input(index, list(shape), strict=bool(self._sizes or shape))
            self._interpreter.allocate_tensors()
            self._sizes = sizes
        self._interpreter.reset_all_variables()
        for name, array in feeds.items():
            self._interpreter.set_tensor(self._layout.inputs[name], array)
        self._interpreter.invoke()
        return {name: self._interpreter.get_tensor(index) for name, index in self._layout.outputs.items()}


def try_out(file: str, kernels: str) -> None:
    """One run at the smallest sizes that work, for a child process: frames of a signal want many samples."""
    path = Path(file)
    layout = read_layout(path)
    first: Exception | None = None
    for size in _OPEN_SIZES:
        try:
            Runner(path, layout, kernels)(_zeros(layout, size))
            return
        except Exception as error:
            first = first or error
            if not any(axis < 0 for index in layout.inputs.values() for axis in layout.tensors[index].shape):
                break
    assert first is not None
    raise first


def _zeros(layout: Layout, open_size: int) -> Arrays:
    """Inputs with this size of every open axis but the first, which is the batch."""
    feeds = {}
    for name, index in layout.inputs.items():
        tensor = layout.tensors[index]
        shape = [
            open_size if size < 0 and (axis or len(tensor.shape) == 1) else max(size, 1)
            for axis, size in enumerate(tensor.shape)
        ]
        feeds[name] = np.zeros(shape, object if tensor.dtype == "string" else tensor.dtype)
    return feeds


def prepare() -> None:
    """Load what `try_out` needs; see `trial`."""
    _interpreter_class()


@functools.cache
def _interpreter_class() -> tuple[Any, Any]:
    """The interpreter and its kinds of kernels: from the package of its own where that is installed."""
    try:
        from ai_edge_litert.interpreter import Interpreter, OpResolverType  # type: ignore[import-not-found]
    except ImportError:
        from tensorflow.lite.python.interpreter import Interpreter, OpResolverType
    return Interpreter, OpResolverType


def _advice(layout: Layout, failed: str) -> str:
    if "unresolved custom op" in failed or "Select TensorFlow op" in failed:
        named = ", ".join(layout.custom) or "custom ones"
        return (
            f"it holds operators ({named}) that neither the interpreter nor ONNX has; convert the model with built-in "
            "operators only, or split it at these operators"
        )
    return one_line(ValueError(failed))


def _identifier(name: str) -> str:
    return "".join(character if character.isalnum() else "_" for character in name)
