"""From what the user declared and what the model itself knows to one `Signature`, and the user's own feeds."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from pytest_onnxprep.compare.replay import load_feeds
from pytest_onnxprep.errors import OnnxPrepError, SourceError, SpecError
from pytest_onnxprep.runtime.array_file import as_declared
from pytest_onnxprep.sources.base import Source
from pytest_onnxprep.sources.load import describe, one_line, places
from pytest_onnxprep.spec.export_request import ExportRequest
from pytest_onnxprep.spec.signature import Signature

Feeds = dict[str, np.ndarray]


def build_signature(source: Source, request: ExportRequest) -> Signature:
    """The declared signature, or the source's own with the declared dims and outputs.

    Raises:
        SourceError: no inputs were declared and the source does not know its own.
        SpecError: a dim that no input has.
    """
    if request.inputs is not None:
        return Signature(request.inputs, request.outputs, request.dims, request.generate)
    derived = source.signature_for(request.dims)
    if derived is None:
        raise SourceError(
            f"{source.label} does not say what it takes{_declared(source)}: write inputs={{name: 'dtype[dims]'}} in "
            "@onnx_export, as in inputs={'image': 'float32[batch, 3, 224, 224]'}"
        )
    return Signature(derived.inputs, request.outputs, {**derived.dims, **request.dims}, request.generate)


def _declared(source: Source) -> str:
    takes = source.takes()
    return f" but for {takes}" if takes else ""


def example_feeds(request: ExportRequest) -> Feeds | None:
    """The user's example arrays to trace with, where every input has one."""
    specs = request.inputs or {}
    if specs and all(spec.example is not None for spec in specs.values()):
        return {name: _to_numpy(spec.example) for name, spec in specs.items()}
    return None


def load_samples(samples: Any, signature: Signature, base: Path | None = None) -> dict[str, Feeds]:
    """The user's own inputs, by a name to show: from a factory, an ``.npz`` file or a folder of them.

    Raises:
        OnnxPrepError: nothing is there, it cannot be read, or it does not fit the signature.
    """
    if samples is None:
        return {}
    if callable(samples):
        return {name: _checked(name, feeds, signature) for name, feeds in _from_factory(samples).items()}
    path = Path(samples)
    candidates = places(path, base)
    found = next((candidate for candidate in candidates if candidate.exists()), None)
    if found is None:
        looked = " and ".join(map(str, candidates))
        raise OnnxPrepError(
            f"samples: {str(path)!r} does not exist (looked for {looked}); an .npz file or a folder of them is accepted"
        )
    files = sorted(found.glob("*.npz")) if found.is_dir() else [found]
    if not files:
        raise OnnxPrepError(f"samples: folder {str(found)!r} holds no .npz file")
    loaded = {}
    for file in files:
        try:
            loaded[file.name] = load_feeds(file)
        except Exception as error:
            raise OnnxPrepError(f"samples: {str(file)!r} cannot be read: {one_line(error)}") from error
    return {name: _checked(name, feeds, signature) for name, feeds in loaded.items()}


def _from_factory(factory: Any) -> dict[str, Any]:
    name = describe(factory)
    try:
        made = factory()
    except Exception as error:
        raise OnnxPrepError(f"samples: factory {name} raised {type(error).__name__}: {one_line(error)}") from error
    several = list(made) if not isinstance(made, Mapping) else [made]
    if not several or not all(isinstance(feeds, Mapping) for feeds in several):
        raise OnnxPrepError(f"samples: factory {name} must return one mapping of name to array, or several")
    return {f"sample {index}": feeds for index, feeds in enumerate(several)}


def _checked(name: str, feeds: Mapping[str, Any], signature: Signature) -> Feeds:
    if set(feeds) != set(signature.inputs):
        raise OnnxPrepError(f"{name}: holds {', '.join(feeds) or 'nothing'}; needed: {', '.join(signature.inputs)}")
    checked: Feeds = {}
    for key, spec in signature.inputs.items():
        array = as_declared(_to_numpy(feeds[key]), spec.dtype)  # .npz files hold no bfloat16
        if len(array.shape) != len(spec.shape) or (spec.dtype != "string" and array.dtype.name != spec.dtype):
            raise OnnxPrepError(f"{name}: {key} is {array.dtype.name}{list(array.shape)}, declared {spec}")
        checked[key] = array
    _check_dims(name, checked, signature)
    return checked


def _check_dims(name: str, feeds: Feeds, signature: Signature) -> None:
    """Plain names must agree across inputs; expressions and constants must come out as they are."""
    sizes: dict[str, int] = {}
    for key, spec in signature.inputs.items():
        for size, dim in zip(feeds[key].shape, spec.shape, strict=True):
            if isinstance(dim.node, str) and sizes.setdefault(dim.node, size) != size:
                raise OnnxPrepError(f"{name}: dim {dim} is {sizes[dim.node]} in one input and {size} in {key}")
    for key, spec in signature.inputs.items():
        for axis, dim in enumerate(spec.shape):
            try:
                wanted = dim.evaluate(sizes)
            except SpecError:
                continue
            if wanted != feeds[key].shape[axis]:
                raise OnnxPrepError(f"{name}: {key} axis {axis} is {feeds[key].shape[axis]}, declared {dim} = {wanted}")


def _to_numpy(value: Any) -> np.ndarray:
    if hasattr(value, "detach"):
        value = value.detach().cpu()
    array: np.ndarray = np.asarray(value)
    return np.ascontiguousarray(array).reshape(array.shape)  # it makes one element of a lone number
