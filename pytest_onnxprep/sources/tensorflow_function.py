"""TensorFlow without Keras: a ``tf.function`` with an input signature, or a SavedModel folder."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from pytest_onnxprep.errors import ReferenceRefused, SourceError
from pytest_onnxprep.sources.base import Arrays, Double, Feeds, Source, flatten_outputs, name_outputs
from pytest_onnxprep.sources.keras_model import is_tensor
from pytest_onnxprep.sources.load import one_line
from pytest_onnxprep.sources.source_code import Digest, code_digest
from pytest_onnxprep.sources.trace import DEFAULT, Limits, Trace
from pytest_onnxprep.spec.signature import Signature
from pytest_onnxprep.spec.tensor import TensorSpec

#: The number of a function, in the names of its arguments.
_NUMBERED = re.compile(r"_\d+(?=___)")
#: What TensorFlow says before it says what went wrong.
_PLACE = re.compile(r"^Graph execution error:\s+(Detected at node .*\n(<stack traces unavailable>\n|( .*)?\n)*)?")


def load(value: Any) -> Source:
    """Make a source of a ``tf.function`` or a SavedModel folder."""
    if isinstance(value, (Path, str)):
        from pytest_onnxprep.sources.saved_model import load_folder

        return load_folder(Path(value))
    if not hasattr(value, "python_function"):
        raise SourceError(
            "a concrete function has no signature of its own and cannot be called with other shapes; accepted: the "
            "tf.function it comes from, or the folder of the SavedModel"
        )
    return TfFunctionSource(value)


class TfFunctionSource(Source):
    """A ``tf.function``, called as the user left it."""

    framework = "tensorflow"

    def __init__(self, function: Any) -> None:
        self.model = function
        self.label = f"{getattr(function, '__name__', 'function')} (tf.function)"

    def derived_signature(self) -> Signature | None:
        """The function's ``input_signature``, where it has one."""
        declared = self.model.input_signature
        if declared is None:
            return None
        specs = dict(zip(self._parameters(), declared, strict=False))
        nested = [name for name, spec in specs.items() if not hasattr(spec, "shape")]
        if nested:
            raise SourceError(
                f"{self.label} takes {nested[0]!r} as a {type(specs[nested[0]]).__name__}; a tf.function whose "
                "parameters are single tensors is accepted: wrap it in one"
            )
        return signature_of(specs)

    def run(self, feeds: Feeds, signature: Signature) -> Arrays:
        """See `Source.run`."""
        import tensorflow as tf

        try:
            outputs = self.call({name: tf.convert_to_tensor(array) for name, array in feeds.items()})
        except SourceError:
            raise
        except Exception as error:
            raise ReferenceRefused(f"{type(error).__name__}: {_said(error)}") from error
        return {name: np.asarray(tensor) for name, tensor in self.named(outputs, signature)}

    def call(self, tensors: Any) -> Any:
        """Call by keyword where every input is named after a parameter, else in order."""
        parameters = self._parameters()
        if set(tensors) == set(parameters[: len(tensors)]):  # by keyword, TensorFlow would change names like _x
            return self.model(*(tensors[name] for name in parameters[: len(tensors)]))
        if set(tensors) <= set(parameters):
            return self.model(**tensors)
        return self.model(*tensors.values())

    def trace(self, feeds: Feeds, signature: Signature, limits: Limits = DEFAULT) -> Trace:
        """See `Source.trace`."""
        from pytest_onnxprep.sources import tensorflow_trace

        return tensorflow_trace.trace(self, feeds, signature, limits)

    def in_double(self, signature: Signature) -> Double | None:
        """See `Source.in_double`."""
        from pytest_onnxprep.sources import tensorflow_double

        return tensorflow_double.make_double(self, signature)

    def named(self, outputs: Any, signature: Signature) -> list[tuple[str, Any]]:
        """Flatten and name what the function returned; also used inside the exported graph."""
        return name_outputs(flatten_outputs(outputs, is_tensor), signature, self.label)

    def fingerprint(self) -> Digest:
        """The code with everything it closes over, variables by value; the graph where one is declared."""
        code = code_digest([self.model.python_function])
        digest = hashlib.blake2b(code.hexdigest.encode(), digest_size=20)
        if self.model.input_signature is not None:
            concrete = self.model.get_concrete_function()
            for tensor in concrete.captured_inputs:
                if tensor.dtype.name != "resource":
                    digest.update(np.ascontiguousarray(tensor.numpy()).tobytes())
            for variable in concrete.variables:
                digest.update(f"{variable.dtype.name}{variable.shape}".encode())
                digest.update(np.ascontiguousarray(variable.numpy()).tobytes())
            digest.update(_without_numbers(concrete.graph.as_graph_def()).SerializeToString(deterministic=True))
        return Digest(digest.hexdigest(), code.stable)

    def _parameters(self) -> list[str]:
        return [name for name in self.model.function_type.parameters if name != "self"]


def _said(error: Exception) -> str:
    """What went wrong; TensorFlow first names the place in its graph, with the frames that made it."""
    kept = _PLACE.sub("", str(error))
    return one_line(ValueError(kept)) if kept.strip() else one_line(error)


def signature_of(specs: dict[str, Any]) -> Signature:
    """A `Signature` of ``tf.TensorSpec`` by name; unknown axes are ``batch`` (axis 0) and ``<input>_dim<axis>``."""
    inputs: dict[str, TensorSpec] = {}
    for name, spec in specs.items():
        if spec.shape.rank is None:
            raise SourceError(f"input {name!r} has no rank; write inputs={{{name!r}: 'dtype[dims]'}} in @onnx_export")
        dims = tuple(
            ("batch" if axis == 0 else f"{name}_dim{axis}") if size is None else int(size)
            for axis, size in enumerate(spec.shape.as_list())
        )
        inputs[name] = TensorSpec(spec.dtype.name, dims)
    return Signature(inputs)


def _without_numbers(graph: Any) -> Any:
    """A graph whose functions are numbered in the order they are first used: TensorFlow's numbers go on and on.

    So do those in the names of what a loop's condition and body are handed.
    """
    functions = {function.signature.name: function for function in graph.library.function}
    names: dict[str, str] = {}
    bodies = [graph.node]
    for body in bodies:  # grows while it is walked
        for node in body:
            for reference in references(node):
                if reference.name in functions and reference.name not in names:
                    names[reference.name] = f"function_{len(names)}"
                    bodies.append(functions[reference.name].node_def)
                reference.name = names.get(reference.name, reference.name)
            node.op = names.get(node.op, node.op)
    kept = [functions[name] for name in names]
    for function, name in zip(kept, names.values(), strict=True):
        function.signature.name = name
        for argument in function.signature.input_arg:
            argument.name = _NUMBERED.sub("", argument.name)
        for node in function.node_def:
            for place, given in enumerate(node.input):
                node.input[place] = _NUMBERED.sub("", given)
    result = type(graph)()
    result.node.extend(graph.node)
    result.library.function.extend(kept)
    return result


def references(node: Any) -> Iterator[Any]:
    """The functions a node calls, as its attributes name them."""
    for key in sorted(node.attr):
        value = node.attr[key]
        yield from (value.func, *value.list.func)
