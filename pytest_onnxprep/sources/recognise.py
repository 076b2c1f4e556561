"""Which framework an object or a path belongs to, told from type names: nothing is imported."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

#: framework -> the classes (module, name) that mark its models. First match wins.
_CLASSES: tuple[tuple[str, tuple[tuple[str, str], ...]], ...] = (
    ("transformers", (("transformers.modeling_utils", "PreTrainedModel"),)),
    ("torch", (("torch.nn.modules.module", "Module"),)),
    ("keras", (("keras.src.models.model", "Model"),)),
    (
        "tensorflow",
        (
            ("tensorflow.python.eager.polymorphic_function.polymorphic_function", "Function"),
            ("tensorflow.python.eager.polymorphic_function.concrete_function", "ConcreteFunction"),
        ),
    ),
)

#: Sources the design names that this version does not take, with what to do meanwhile.
_LATER = {
    ".pt2": "load it and give the module: torch.export.load(path).module()",
    ".tflite": "give the Keras model it came from",
    ".pt": "give a factory that builds the module and loads the state dict",
    ".pth": "give a factory that builds the module and loads the state dict",
}

ACCEPTED = (
    "a zero-argument factory, a torch.nn.Module, a Transformers model or its folder, a Keras 3 model or a "
    ".keras/.h5 file, a tf.function with an input signature, a SavedModel folder, an .onnx file"
)


def framework_of_type(cls: type) -> str | None:
    """The framework whose model class ``cls`` is, by the names in its MRO."""
    bases = {(base.__module__, base.__name__) for base in cls.__mro__}
    for framework, marks in _CLASSES:
        if any(mark in bases for mark in marks):
            return framework
    return None


def framework_of_path(path: Path) -> str | None:
    """The framework of a file or folder, by suffix or content."""
    suffix = path.suffix.lower()
    if suffix == ".onnx":
        return "onnx"
    if suffix in (".keras", ".h5"):
        return "keras"
    if path.is_dir():
        if (path / "saved_model.pb").exists():
            return "tensorflow"
        if (path / "config.json").exists():
            return "transformers"
    return None


def framework_of(value: Any) -> str | None:
    """The framework of a model, a path or a SavedModel folder; None for anything else (a factory, say)."""
    if isinstance(value, (str, os.PathLike)):
        return framework_of_path(Path(value))
    if isinstance(value, type):
        return None
    return framework_of_type(type(value))


def not_yet(path: Path) -> str | None:
    """What to do about a file type that a later version will take, or None."""
    return _LATER.get(path.suffix.lower())
