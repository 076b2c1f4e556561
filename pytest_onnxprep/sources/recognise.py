"""Which framework an object or a path belongs to, told from type names: nothing is imported."""

from __future__ import annotations

import functools
import os
import types
from pathlib import Path
from typing import Any

#: framework -> the classes (module, name) that mark its models. First match wins.
_CLASSES: tuple[tuple[str, tuple[tuple[str, str], ...]], ...] = (
    ("pipeline", (("pytest_onnxprep.spec.composition", "Pipeline"),)),
    ("ensemble", (("pytest_onnxprep.spec.composition", "Ensemble"),)),
    (
        "transformers",
        (
            ("transformers.modeling_utils", "PreTrainedModel"),
            ("transformers.configuration_utils", "PreTrainedConfig"),
        ),
    ),
    ("keras", (("keras.src.models.model", "Model"),)),  # on its torch backend they are torch modules as well
    ("torch", (("torch.nn.modules.module", "Module"), ("torch.export.exported_program", "ExportedProgram"))),
    (
        "tensorflow",
        (
            ("tensorflow.python.eager.polymorphic_function.polymorphic_function", "Function"),
            ("tensorflow.python.eager.polymorphic_function.concrete_function", "ConcreteFunction"),
        ),
    ),
    (
        "jax",
        (
            ("jaxlib._jax", "PjitFunction"),
            ("flax.nnx.module", "Module"),
            ("flax.linen.module", "Module"),
            ("equinox._module._module", "Module"),
        ),
    ),
)

#: Kinds of objects of JAX's libraries, which each are treated in their own way.
_KINDS = {
    "jitted": ("jaxlib._jax", "PjitFunction"),
    "nnx": ("flax.nnx.module", "Module"),
    "linen": ("flax.linen.module", "Module"),
    "equinox": ("equinox._module._module", "Module"),
    "param": ("flax.nnx.variablelib", "Param"),
}
#: Whose functions are JAX's.
JAX_PACKAGES = frozenset({"jax", "jaxlib", "flax", "equinox", "optax", "haiku"})
_MOST_LOOKED_AT = 200

#: Suffixes of model files; what a file really is, its loader finds out.
_SUFFIXES = {
    ".onnx": "onnx",
    ".tflite": "tflite",
    ".keras": "keras",
    ".h5": "keras",
    ".hdf5": "keras",
    **dict.fromkeys((".pt", ".pth", ".ts", ".pt2", ".torchscript", ".jit", ".ckpt", ".safetensors"), "torch"),
}

ACCEPTED = (
    "a zero-argument factory, a torch.nn.Module or ExportedProgram, a TorchScript or .pt2 file, a Transformers model, "
    "its folder or its config, a Keras 3 model or a .keras/.h5 file, a tf.function with an input signature, a "
    "SavedModel folder, a .tflite file, the model.json of a TensorFlow.js model, a function made by jax.jit or whose "
    "code uses jax, a Flax nnx module, a Flax linen pair (module, variables), an Equinox module, an .onnx file, a "
    "Pipeline or Ensemble of these"
)


def framework_of_type(cls: type) -> str | None:
    """The framework whose model class ``cls`` is, by the names in its MRO."""
    bases = {(base.__module__, base.__name__) for base in cls.__mro__}
    for framework, marks in _CLASSES:
        if any(mark in bases for mark in marks):
            return framework
    return None


def is_class(value: Any, kind: str) -> bool:
    """Whether a value is of one of the kinds above: ``jitted``, ``nnx``, ``linen``, ``equinox``, ``param``."""
    return any((base.__module__, base.__name__) == _KINDS[kind] for base in type(value).__mro__)


def uses_jax(function: Any) -> bool:
    """Whether a callable is JAX's, or the user's code behind it refers to JAX: told without calling it.

    Followed are what it wraps and binds, its closure, the globals and imports it names, and the user's own functions
    among these.
    """
    from pytest_onnxprep.sources.code_names import names_of
    from pytest_onnxprep.sources.live_code import runs_user_code

    queue: list[Any] = [function]
    seen: set[int] = set()
    while queue and len(seen) < _MOST_LOOKED_AT:
        value = queue.pop(0)
        if id(value) in seen:
            continue
        seen.add(id(value))
        named = value.__name__ if isinstance(value, types.ModuleType) else type(value).__module__
        if _top(named) in JAX_PACKAGES or _top(getattr(value, "__module__", "")) in JAX_PACKAGES:
            return True
        if framework_of_type(value if isinstance(value, type) else type(value)) == "jax":
            return True
        if isinstance(value, functools.partial):
            queue += [value.func, *value.args, *value.keywords.values()]
        elif isinstance(value, dict):
            queue += value.values()
        elif isinstance(value, (list, tuple)):
            queue += value
        elif isinstance(value, types.MethodType):
            queue += [value.__self__, value.__func__]
        elif isinstance(value, types.FunctionType):
            cells = (cell for cell in value.__closure__ or () if cell != types.CellType())
            queue += [cell.cell_contents for cell in cells]
            if _top(value.__globals__.get("__name__")) in JAX_PACKAGES:
                return True
            if runs_user_code(value):
                loaded, imported, _ = names_of(value.__code__)
                if any(_top(name) in JAX_PACKAGES for name in imported):
                    return True
                queue += [value.__globals__[name] for name in sorted(loaded & value.__globals__.keys())]
    return False


def _top(dotted: Any) -> str:
    return dotted.partition(".")[0] if isinstance(dotted, str) else ""


def framework_of_path(path: Path) -> str | None:
    """The framework of a file or folder, by suffix or content."""
    if path.name == "config.json":
        return "transformers"
    suffix = path.suffix.lower()
    if path.name.lower().endswith((".pth.tar", ".pt.tar")):  # checkpoints of training scripts, no archives
        suffix = ".pth"
    if suffix in _SUFFIXES and not os.path.isdir(path):
        return _SUFFIXES[suffix]
    if path.name.endswith(".json") and os.path.isfile(path) and b'"modelTopology"' in path.read_bytes():
        return "tfjs"
    if os.path.isdir(path):  # unlike Path.is_dir, no error where a name is too long
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
    if isinstance(value, tuple) and len(value) == 2 and is_class(value[0], "linen"):
        return "jax"
    return framework_of_type(type(value))
