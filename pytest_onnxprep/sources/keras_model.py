"""Keras 3 on the TensorFlow backend: Sequential, Functional and subclassed models, ``.keras`` and ``.h5`` files."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from pytest_onnxprep.errors import ReferenceRefused, SourceError
from pytest_onnxprep.sources.base import Arrays, Feeds, Source, flatten_outputs, name_outputs
from pytest_onnxprep.sources.load import one_line
from pytest_onnxprep.sources.source_code import Digest, code_digest
from pytest_onnxprep.sources.state_digest import state_digest
from pytest_onnxprep.spec.signature import Signature
from pytest_onnxprep.spec.tensor import TensorSpec


def load(value: Any) -> KerasSource:
    """Make a source of a model object or file."""
    import keras

    if keras.backend.backend() != "tensorflow":
        raise SourceError(
            f"Keras runs on its {keras.backend.backend()!r} backend here; this version exports Keras models from the "
            "TensorFlow backend only: set KERAS_BACKEND=tensorflow"
        )
    return KerasSource(keras.models.load_model(value, compile=False) if isinstance(value, Path) else value)


class KerasSource(Source):
    """A Keras model called with ``training=False``."""

    framework = "keras"

    def __init__(self, model: Any) -> None:
        self.model = model
        self.label = f"{model.name} (keras.{type(model).__name__})"

    def derived_signature(self) -> Signature | None:
        """Inputs of a built Sequential or Functional model; ``None`` axes are ``batch`` and ``<input>_dim<axis>``."""
        inputs = self._declared_inputs()
        if not inputs:
            return None
        specs: dict[str, TensorSpec] = {}
        for tensor in inputs:
            dims = tuple(
                ("batch" if axis == 0 else f"{_identifier(tensor.name)}_dim{axis}") if size is None else int(size)
                for axis, size in enumerate(tensor.shape)
            )
            specs[tensor.name] = TensorSpec(str(tensor.dtype), dims)
        return Signature(specs)

    def run(self, feeds: Feeds, signature: Signature) -> Arrays:
        """See `Source.run`."""
        import tensorflow as tf

        try:
            outputs = self.call({name: tf.convert_to_tensor(array) for name, array in feeds.items()})
        except SourceError:
            raise
        except Exception as error:
            raise ReferenceRefused(f"{type(error).__name__}: {one_line(error)}") from error
        return {name: np.asarray(tensor) for name, tensor in self.named(outputs, signature)}

    def call(self, tensors: Mapping[str, Any]) -> Any:
        """Call the model the way it was built: one tensor, a list, or a dict by input name."""
        structure = getattr(self.model, "_inputs_struct", None)
        if isinstance(structure, Mapping):
            return self.model(dict(tensors), training=False)
        values = self._in_model_order(tensors)
        if len(values) == 1:
            return self.model(values[0], training=False)
        if structure is None and not self._declared_inputs():
            return self.model(*values, training=False)
        return self.model(values, training=False)

    def named(self, outputs: Any, signature: Signature) -> list[tuple[str, Any]]:
        """Flatten and name what the model returned; also used inside the exported graph."""
        natural = flatten_outputs(outputs, is_tensor)
        own = self._output_names()
        if not isinstance(outputs, Mapping) and len(own) == len(natural):
            natural = [(name, value) for name, (_, value) in zip(own, natural, strict=True)]
        return name_outputs(natural, signature, self.label)

    def fingerprint(self) -> Digest:
        """Weights by value, the config, and the code of every layer class of the user's."""
        digest = hashlib.blake2b(digest_size=20)
        for variable in self.model.variables:
            array = np.ascontiguousarray(variable.numpy())
            digest.update(f"{variable.path}:{array.dtype}:{array.shape}".encode())
            digest.update(memoryview(array.reshape(-1).view(np.uint8)) if array.size else b"")
        try:
            config = state_digest(self.model.get_config())
        except Exception:  # subclassed models need not have one: their code and their variables remain
            config = Digest(hashlib.blake2b(type(self.model).__name__.encode()).hexdigest(), _plain(self.model))
        code = code_digest([type(self.model), *dict.fromkeys(type(layer) for layer in self.model._flatten_layers())])
        digest.update(f"{config.hexdigest}{code.hexdigest}".encode())
        return Digest(digest.hexdigest(), config.stable and code.stable)

    def state(self) -> dict[str, np.ndarray]:
        """Copies of the non-trainable variables: running statistics, counters, RNN state."""
        return {variable.path: variable.numpy().copy() for variable in self.model.non_trainable_variables}

    def restore(self, state: Mapping[str, np.ndarray]) -> None:
        """Assign the non-trainable variables back."""
        for variable in self.model.non_trainable_variables:
            if variable.path in state:
                variable.assign(state[variable.path])

    def _declared_inputs(self) -> list[Any]:
        try:
            return list(self.model.inputs or [])
        except (AttributeError, ValueError):
            return []

    def _in_model_order(self, tensors: Mapping[str, Any]) -> list[Any]:
        own = [tensor.name for tensor in self._declared_inputs()]
        if set(own) == set(tensors):
            return [tensors[name] for name in own]
        return list(tensors.values())

    def _output_names(self) -> list[str]:
        import keras

        if isinstance(self.model, keras.Sequential):
            return [self.model.layers[-1].name] if self.model.layers else []
        return list(getattr(self.model, "output_names", None) or [])


def is_tensor(value: Any) -> bool:
    """Whether ``value`` is a TensorFlow tensor, eager or symbolic."""
    import tensorflow as tf

    return bool(tf.is_tensor(value))


def _identifier(name: str) -> str:
    return "".join(character if character.isalnum() else "_" for character in name)


def _plain(model: Any) -> bool:
    """A subclassed model without a config is described only if it has no attributes of its own we cannot see."""
    return False
