"""From what the user wrote as ``source=`` to a `Source`."""

from __future__ import annotations

import importlib
import inspect
import itertools
import os
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pytest_onnxprep.errors import OnnxPrepError, SourceError
from pytest_onnxprep.sources.base import Source
from pytest_onnxprep.sources.recognise import ACCEPTED, framework_of, uses_jax

#: framework -> (module, function that makes the Source, extra that installs it)
_LOADERS = {
    "torch": ("pytest_onnxprep.sources.torch_file", "load", "torch"),
    "transformers": ("pytest_onnxprep.sources.transformers_model", "load", "transformers"),
    "keras": ("pytest_onnxprep.sources.keras_model", "load", "tensorflow"),
    "tensorflow": ("pytest_onnxprep.sources.tensorflow_function", "load", "tensorflow"),
    "tflite": ("pytest_onnxprep.sources.tflite_file", "load", "tensorflow"),
    "tfjs": ("pytest_onnxprep.sources.tfjs_model", "load", "tensorflow"),
    "jax": ("pytest_onnxprep.sources.jax_function", "load", "jax"),
    "onnx": ("pytest_onnxprep.sources.onnx_file", "OnnxFileSource", ""),
    "pipeline": ("pytest_onnxprep.sources.pipeline", "PipelineSource", ""),
    "ensemble": ("pytest_onnxprep.sources.ensemble", "EnsembleSource", ""),
}
#: Sources made of sources, which look for files where the whole was looked for.
_COMPOSED = ("pipeline", "ensemble")
#: Entries of a folder that are looked at before anybody reads it.
_MOST_LOOKED_AT = 10_000


def load_source(value: Any, *, base: Path | None = None) -> Source:
    """Make a `Source` of a model, a path or a zero-argument factory.

    Args:
        value: what the user gave.
        base: folder that relative paths are taken from, before the working directory.

    Raises:
        SourceError: nobody recognises it, the file is missing or unreadable, the framework is not installed, or the
            factory raised; the message says which and what to do.
    """
    if isinstance(value, Source):
        return value
    if isinstance(value, (str, os.PathLike)):
        value, part = _with_part(value, base)
        if part:
            return _make("tensorflow", value.with_name(f"{value.name}#{part}"), base)
    framework = framework_of(value)
    if framework is None and isinstance(value, Path):
        raise SourceError(f"source {str(value)!r} is no model file that is known here; accepted: {ACCEPTED}")
    if framework is None and callable(value) and _required_parameters(value) and uses_jax(value):
        framework = "jax"  # a factory takes nothing: this is the model itself
    if framework is None and callable(value):
        factory = value
        value = _call(factory)
        if isinstance(value, (str, os.PathLike)):
            return load_source(value, base=base)
        framework = framework_of(value) or ("jax" if callable(value) and uses_jax(value) else None)
        if framework is None:
            raise SourceError(
                f"factory {describe(factory)} returned {type(value).__module__}.{type(value).__qualname__}, "
                f"which is no model; accepted: {ACCEPTED}"
            )
    if framework is None:
        raise SourceError(f"source {value!r} ({type(value).__qualname__}) is no model; accepted: {ACCEPTED}")
    return _make(framework, value, base)


def describe(factory: Callable[..., Any]) -> str:
    """Name a factory and where it stands: ``build_net (models.py:12)``."""
    inner = inspect.unwrap(getattr(factory, "func", factory))
    name = getattr(inner, "__qualname__", type(inner).__qualname__)
    code = getattr(inner, "__code__", None)
    return f"{name} ({Path(code.co_filename).name}:{code.co_firstlineno})" if code else name


def _make(framework: str, value: Any, base: Path | None) -> Source:
    module, function, extra = _LOADERS[framework]
    try:
        load = getattr(importlib.import_module(module), function)
        source: Source = load(value, base) if framework in _COMPOSED else load(value)
    except OnnxPrepError:
        raise
    except ImportError as error:
        install = f"pip install 'pytest-onnxprep[{extra}]'" if extra else "reinstall pytest-onnxprep"
        raise SourceError(f"source needs {error.name or error}, which is not installed: {install}") from error
    except Exception as error:
        shown = repr(str(value)) if isinstance(value, Path) else repr(value)
        raise SourceError(f"source {shown} cannot be read as a {framework} model: {one_line(error)}") from error
    return source


def _with_part(value: str | os.PathLike[str], base: Path | None) -> tuple[Path, str]:
    """``folder#signature`` is one signature of a SavedModel, unless there is a file of that name."""
    stem, mark, part = os.fspath(value).rpartition("#")
    candidates = [Path(value)] if base is None else [base / Path(value), Path(value)]
    if not mark or any(os.path.exists(candidate) for candidate in candidates):
        return _existing(Path(value), base), ""
    found = _existing(Path(stem), base)
    if framework_of(found) != "tensorflow":
        raise SourceError(f"source {os.fspath(value)!r}: only a SavedModel folder has parts to be named after a '#'")
    return found, part


def _existing(path: Path, base: Path | None) -> Path:
    candidates = [path] if path.is_absolute() or base is None else [base / path, Path.cwd() / path]
    for candidate in candidates:
        if os.path.exists(candidate):  # unlike Path.exists, no error where a name is too long
            _check_kind(candidate)
            return candidate
    looked = " and ".join(_shortened(str(candidate.absolute())) for candidate in candidates)
    raise SourceError(
        f"source file {_shortened(str(path))!r} does not exist (looked for {looked}); accepted: {ACCEPTED}"
    )


def _shortened(name: str) -> str:
    return name if len(name) <= 300 else f"{name[:150]}...{name[-100:]}"


def _check_kind(path: Path) -> None:
    """Refuse what is neither file nor folder, in a folder as well: a pipe waits for ever, a device has no end.

    Raises:
        SourceError: it is one.
    """
    inside = itertools.islice(path.rglob("*"), _MOST_LOOKED_AT) if path.is_dir() else ()
    for found in (path, *inside):
        if found.exists() and not (found.is_file() or found.is_dir()):
            raise SourceError(f"source {str(found)!r} is neither a file nor a folder but a pipe, a socket or a device")


def places(path: Path, base: Path | None) -> list[Path]:
    """Where a path of the user's may lie: beside the test file, then below the working directory."""
    if path.is_absolute():
        return [path]
    return list(dict.fromkeys([*([base / path] if base else []), Path.cwd() / path]))


def _call(factory: Callable[[], Any]) -> Any:
    required = _required_parameters(factory)
    if required:
        raise SourceError(
            f"factory {describe(factory)} needs arguments ({', '.join(required)}); a zero-argument factory is "
            "accepted: wrap it in a lambda or functools.partial"
        )
    try:
        return factory()
    except ImportError as error:
        raise SourceError(
            f"factory {describe(factory)} needs {error.name or error}, which cannot be imported: {one_line(error)}\n"
            f"{user_frames(error)}"
            "Install it, or skip the test where it is missing (pytest.importorskip)."
        ) from error
    except Exception as error:
        raise SourceError(
            f"factory {describe(factory)} raised {type(error).__name__}: {one_line(error)}\n{user_frames(error)}"
            "The model was not built, so nothing was checked; call the factory by itself to debug it."
        ) from error


def _required_parameters(factory: Callable[..., Any]) -> list[str]:
    try:
        parameters = inspect.signature(factory).parameters.values()
    except (TypeError, ValueError):
        return []
    kinds = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return [p.name for p in parameters if p.default is p.empty and p.kind not in kinds]


def one_line(error: BaseException, limit: int = 300) -> str:
    """The first meaningful line of an error's text, cut to ``limit`` characters."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    text = lines[0] if lines else type(error).__name__
    return text if len(text) <= limit else f"{text[: limit - 1]}…"


def user_frames(error: BaseException, limit: int = 4) -> str:
    """The innermost frames outside this package, a line each, ready to be put into a message."""
    here = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    frames = [f for f in traceback.extract_tb(error.__traceback__) if not f.filename.startswith(here)]
    return "".join(f"    {f.filename}:{f.lineno} in {f.name}: {f.line or ''}\n" for f in frames[-limit:])
