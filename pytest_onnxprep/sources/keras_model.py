"""Keras 3 on any backend: Sequential, Functional and subclassed models, ``.keras`` and ``.h5`` files."""

from __future__ import annotations

import contextlib
import hashlib
import inspect
import re
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pytest_onnxprep.errors import ReferenceRefused, SourceError
from pytest_onnxprep.sources.base import Arrays, Double, Feeds, Source, flatten_outputs, name_outputs
from pytest_onnxprep.sources.keras_names import distinct, own_names, renamed
from pytest_onnxprep.sources.live_code import is_user
from pytest_onnxprep.sources.load import one_line
from pytest_onnxprep.sources.source_code import Digest, code_digest
from pytest_onnxprep.sources.state_digest import state_digest
from pytest_onnxprep.sources.trace import DEFAULT, Limits, Trace
from pytest_onnxprep.spec.signature import Signature
from pytest_onnxprep.spec.tensor import TensorSpec

if TYPE_CHECKING:
    from pytest_onnxprep.sources.custody import Belonging


def load(value: Any) -> KerasSource:
    """Make a source of a model object or file."""
    from pytest_onnxprep.sources import keras_file

    if not isinstance(value, Path):
        return KerasSource(value)
    source = KerasSource(keras_file.read(value))
    source.file = value
    return source


class KerasSource(Source):
    """A Keras model called with ``training=False``."""

    framework = "keras"
    #: Where the model was read from.
    file: Path | None = None

    def __init__(self, model: Any) -> None:
        self.model = model
        self._packings: tuple[Callable[[Mapping[str, Any]], Any], ...] = (dict, lambda tensors: list(tensors.values()))
        self.label = f"{own_names(model).get(model.name, model.name)} (keras.{type(model).__name__})"

    def unsuited(self) -> dict[str, str]:
        """tf2onnx reads TensorFlow's graphs only."""
        import keras

        if on_tensorflow():
            return {}
        backend = keras.backend.backend()
        return {"tf2onnx": f"Keras runs on its {backend!r} backend here; use exporter='keras'"}

    def derived_signature(self) -> Signature | None:
        """Inputs of a built Sequential or Functional model; ``None`` axes are ``batch`` and ``<input>_dim<axis>``."""
        inputs = self._declared_inputs()
        if not inputs:
            return None
        specs: dict[str, TensorSpec] = {}
        for name, tensor in zip(self._input_names, inputs, strict=True):
            dims = tuple(
                ("batch" if axis == 0 else f"{_identifier(name)}_dim{axis}") if size is None else int(size)
                for axis, size in enumerate(tensor.shape)
            )
            specs[name] = TensorSpec(str(tensor.dtype), dims)
        return Signature(specs)

    def built(self) -> bool:
        """Whether every layer has its variables."""
        return all(layer.built for layer in [self.model, *self.model._flatten_layers()])

    def try_out(self, feeds: Feeds, signature: Signature) -> str:  # noqa: ARG002 - outputs are not looked at
        """See `Source.try_out`."""
        from pytest_onnxprep.sources import keras_file

        return keras_file.try_out(self.file, feeds) if self.file is not None else ""

    def run(self, feeds: Feeds, signature: Signature) -> Arrays:
        """See `Source.run`."""
        import keras

        try:
            with _without_gradients():
                outputs = self.call({name: keras.ops.convert_to_tensor(array) for name, array in feeds.items()})
        except SourceError:
            raise
        except Exception as error:
            raise ReferenceRefused(f"{type(error).__name__}: {_reason(error)}") from error
        return {name: keras.ops.convert_to_numpy(tensor) for name, tensor in self.named(outputs, signature)}

    def call(self, tensors: Mapping[str, Any]) -> Any:
        """Call the model the way it was built; a subclassed one by keyword where the names are those of ``call``."""
        if self._declared_inputs():
            return self.model(self.packed(tensors), training=False)
        names = self._call_parameters()
        if set(tensors) <= set(names):
            return self.model(**tensors, training=False)
        if len(tensors) > 1 and len(names) == 1:
            return self._call_packed(tensors)
        return self.model(*tensors.values(), training=False)

    def packed(self, tensors: Mapping[str, Any]) -> Any:
        """Inputs in the structure the model was built with; as they are where it has none.

        Raises:
            SourceError: another number of inputs than the model has.
        """
        import keras

        inputs = self._declared_inputs()
        if not inputs:
            return next(iter(tensors.values())) if len(tensors) == 1 else list(tensors.values())
        values = self._in_model_order(tensors)
        structure = getattr(self.model, "_inputs_struct", None)
        if structure is None:  # Sequential keeps its graph inside
            structure = getattr(getattr(self.model, "_functional", None), "_inputs_struct", inputs[0])
        if len(values) != len(inputs):
            raise SourceError(f"inputs: {self.label} takes {len(inputs)} ({', '.join(self._input_names)})")
        return keras.tree.pack_sequence_as(structure, values)

    def _call_packed(self, tensors: Mapping[str, Any]) -> Any:
        """``call(self, inputs)`` takes a dict of them or a list; what works is remembered."""
        failure: Exception | None = None
        for pack in self._packings:
            try:
                outputs = self.model(pack(tensors), training=False)
            except Exception as error:
                failure = failure or error
                continue
            self._packings = (pack,)
            return outputs
        raise failure or AssertionError("no packing left")

    def trace(self, feeds: Feeds, signature: Signature, limits: Limits = DEFAULT) -> Trace:
        """See `Source.trace`."""
        if not on_tensorflow():
            return super().trace(feeds, signature, limits)
        from pytest_onnxprep.sources import tensorflow_trace

        return tensorflow_trace.trace(self, feeds, signature, limits)

    def in_double(self, signature: Signature) -> Double | None:
        """See `Source.in_double`."""
        if not on_tensorflow():
            return None
        from pytest_onnxprep.sources import tensorflow_double

        return tensorflow_double.make_double(self, signature)

    def named(self, outputs: Any, signature: Signature) -> list[tuple[str, Any]]:
        """Flatten and name what the model returned; also used inside the exported graph."""
        natural = flatten_outputs(outputs, is_tensor)
        actual = self._output_names()
        if not isinstance(outputs, Mapping) and len(actual) == len(natural):
            names = own_names(self.model)
            own = actual if set(signature.outputs or ()) & set(actual) else [names.get(name, name) for name in actual]
            natural = [(name, value) for name, (_, value) in zip(distinct(own), natural, strict=True)]
        return name_outputs(natural, signature, self.label)

    def fingerprint(self) -> Digest:
        """Weights by value, the config, what the user's layers hold besides, and the code of their classes."""
        digest = hashlib.blake2b(digest_size=20)
        for variable in self.model.variables:
            if variable.name == "seed_generator_state":  # drawn anew in every process; dropout is off here
                continue
            array = to_array(variable)
            digest.update(f"{variable.name}:{array.dtype}:{array.shape}".encode())
            digest.update(np.ascontiguousarray(array).tobytes())
        layers = [self.model, *self.model._flatten_layers(include_self=False)]
        parts = [self._config(), *(state_digest(_attributes(layer)) for layer in layers if is_user(type(layer)))]
        parts.append(code_digest(list(dict.fromkeys(type(layer) for layer in layers))))
        parts.append(state_digest([list(_functions(layer)) for layer in layers]))
        for part in parts:
            digest.update(part.hexdigest.encode())
        return Digest(digest.hexdigest(), all(part.stable for part in parts))

    def _config(self) -> Digest:
        """The config, without the numbers of this process in its names.

        A subclassed model need not have one. What it is made of is told by its attributes and its code then.
        """
        names = own_names(self.model)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Keras warns of lambdas, which are nothing to be warned of here
            try:
                return state_digest(renamed(self.model.get_config(), names))
            except Exception:
                kinds = [(type(layer).__qualname__, layer.name) for layer in self.model._flatten_layers()]
                return state_digest(renamed(kinds, names)) if is_user(type(self.model)) else state_digest(self.model)

    def state(self) -> dict[str, np.ndarray]:
        """Copies of the non-trainable variables: running statistics, counters, RNN state."""
        return {variable.path: to_array(variable).copy() for variable in self.model.non_trainable_variables}

    def restore(self, state: Mapping[str, np.ndarray]) -> None:
        """Assign the non-trainable variables back."""
        for variable in self.model.non_trainable_variables:
            if variable.path in state:
                variable.assign(state[variable.path])

    def belongings(self) -> list[Belonging]:
        """Weights, flags, compiled state, and what layers of the user's own hold."""
        from pytest_onnxprep.sources.keras_custody import belongings

        return belongings(self.model)

    def _declared_inputs(self) -> list[Any]:
        try:
            return list(self.model.inputs or [])
        except (AttributeError, ValueError):
            return []

    @cached_property
    def _input_names(self) -> list[str]:
        """The inputs' names as the user gave them, or those of their layers."""
        names = own_names(self.model)
        found = []
        for tensor in self._declared_inputs():
            history = getattr(tensor, "_keras_history", None)
            layer = tensor.name if history is None else history.operation.name
            found.append(names.get(layer, layer))
        return distinct(found)

    def _in_model_order(self, tensors: Mapping[str, Any]) -> list[Any]:
        own = self._input_names
        actual = [tensor.name for tensor in self._declared_inputs()]
        for names in (own, actual):
            if set(names) == set(tensors):
                return [tensors[name] for name in names]
        return list(tensors.values())

    def _call_parameters(self) -> list[str]:
        parameters = inspect.signature(self.model.call).parameters.values()
        kinds = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
        return [p.name for p in parameters if p.kind in kinds and p.name not in ("training", "mask")]

    def _output_names(self) -> list[str]:
        import keras

        if isinstance(self.model, keras.Sequential):
            return [self.model.layers[-1].name] if self.model.layers else []
        return list(getattr(self.model, "output_names", None) or [])


def is_tensor(value: Any) -> bool:
    """Whether ``value`` is a tensor of TensorFlow's, or of the backend Keras runs on, eager or symbolic."""
    if on_tensorflow():
        import tensorflow as tf

        return bool(tf.is_tensor(value))
    import keras

    return bool(keras.ops.is_tensor(value)) or hasattr(value, "__jax_array__")


def to_array(variable: Any) -> np.ndarray:
    """The values of a variable, on whichever backend."""
    import keras

    array: np.ndarray = keras.ops.convert_to_numpy(variable.value)
    return array


def on_tensorflow() -> bool:
    """Whether Keras runs on TensorFlow, or is not in use at all."""
    keras = sys.modules.get("keras")
    return keras is None or keras.backend.backend() == "tensorflow"


def _without_gradients() -> Any:
    """Torch's tensors carry gradients that no comparison needs."""
    import keras

    if keras.backend.backend() != "torch":
        return contextlib.nullcontext()
    import torch

    return torch.no_grad()


def _reason(error: Exception) -> str:
    """What went wrong; Keras says first in which layer, and prints in bold what."""
    found = re.search(r"^Exception encountered when calling (.*?)\.\s+\x1b\[1m(.*?)\x1b\[0m", str(error), re.S)
    return f"{' '.join(found[2].split())[:300]} (in {found[1]})" if found else one_line(error)


def _identifier(name: str) -> str:
    return "".join(character if character.isalnum() else "_" for character in name)


def _attributes(layer: Any) -> dict[str, list[Any]]:
    """What a layer class of the user's keeps besides the layers and variables that Keras knows of."""
    import keras

    base = keras.Model(name="onnxprep") if isinstance(layer, keras.Model) else keras.layers.Layer(name="onnxprep")
    known = vars(base)
    return {
        name: [leaf for leaf in keras.tree.flatten(value) if not _is_keras(leaf)]
        for name, value in vars(layer).items()
        if name not in known and not name.startswith("_self_")
    }


def _functions(layer: Any) -> Iterator[Any]:
    """Functions a layer was given: the config holds their names at most."""
    for name in ("function", "activation", "call"):
        function = vars(layer).get(name)
        if inspect.isfunction(function):
            yield function


def _is_keras(value: Any) -> bool:
    """Layers, variables and trackers: described by the config and the variables' values."""
    import keras

    tracked = isinstance(value, (keras.layers.Layer, keras.Variable))
    return tracked or (type(value).__module__.startswith("keras.") and not callable(value))
