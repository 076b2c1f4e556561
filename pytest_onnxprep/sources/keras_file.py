"""``.keras`` and ``.h5`` files: looked into before Keras reads them."""

from __future__ import annotations

import contextlib
import io
import json
import os
import tempfile
import zipfile
from pathlib import Path
from typing import Any

from pytest_onnxprep.errors import SourceError
from pytest_onnxprep.sources import keras2_config
from pytest_onnxprep.sources.load import one_line
from pytest_onnxprep.sources.trial import failure_of

_HDF5 = b"\x89HDF\r\n\x1a\n"
_WEIGHTS = "model.weights.h5"
#: Bytes a file may become in memory for each byte it has on disk, beyond a first gigabyte.
_MOST_TIMES = 100
_FREE = 1 << 30


def read(path: Path) -> Any:
    """Read a model.

    Raises:
        SourceError: the file is damaged, holds weights only, or would run code or follow links when it is read.
    """
    weights_only = path.name.endswith(".weights.h5")
    if path.suffix.lower() == ".keras":
        _check_archive(path)
    else:
        _check_hdf5(path, path)
    if weights_only:
        raise SourceError(_needs_model(path))
    try:
        return load(path)
    except Exception as error:
        raise SourceError(_told(path, error)) from error


def load(path: Path) -> Any:
    """Let Keras read a file, in its own words where Keras 2 wrote it."""
    import keras

    config = _config_of_keras_2(path)
    if config is None:
        return keras.models.load_model(path, compile=False, custom_objects=_of_applications())
    import h5py  # type: ignore[import-untyped]
    from keras.src.legacy.saving.legacy_h5_format import load_model_from_hdf5

    objects = {**_of_applications(), keras2_config.HARD_SIGMOID: keras2_config.hard_sigmoid}
    with h5py.File(io.BytesIO(path.read_bytes()), "r+") as copied:  # the file itself stays as it is
        copied.attrs["model_config"] = json.dumps(keras2_config.modernised(config))
        with keras.saving.custom_object_scope(objects):
            return load_model_from_hdf5(copied, compile=False, safe_mode=True)


def _config_of_keras_2(path: Path) -> dict[str, Any] | None:
    """What Keras 2 wrote of the model; None for files of Keras 3, and for what is no such file."""
    import h5py

    if path.suffix.lower() == ".keras":
        return None
    with contextlib.suppress(OSError, ValueError, RecursionError), h5py.File(path, "r") as file:
        version, config = (_text(file.attrs.get(name)) for name in ("keras_version", "model_config"))
        if config and version.partition(".")[0] in ("2", ""):
            found = json.loads(config)
            return found if isinstance(found, dict) else None
    return None


def _text(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value or "")


def _of_applications() -> dict[str, Any]:
    """Layers of Keras's own applications that it does not find by name in a file of theirs."""
    found: dict[str, Any] = {}
    with contextlib.suppress(ImportError, AttributeError):
        from keras.src.applications import convnext

        found = {name: getattr(convnext, name) for name in ("LayerScale", "StochasticDepth")}
    return found


def _told(path: Path, error: Exception) -> str:
    text = str(error)
    if "No model config" in text:
        return _needs_model(path)
    if "arbitrary code execution" in text or "safe_mode" in text:
        return (
            f"source {str(path)!r} holds Python code (a Lambda layer): reading it runs that, so it was not read. "
            "Make the layer a class of your own, or give a factory; keras.models.load_model(path, safe_mode=False) in "
            "a factory of yours is your own decision, for files you made"
        )
    hint = ""
    if "Could not locate" in text or "Unknown layer" in text or "Unknown object" in text:
        hint = (
            "; import the code of its own layers first, in a factory: "
            f"lambda: keras.models.load_model({str(path)!r}, custom_objects={{...}})"
        )
    return f"source {str(path)!r} cannot be read by Keras: {one_line(error)}{hint}"


def _needs_model(path: Path) -> str:
    return (
        f"source {str(path)!r} holds weights only, and no model to put them into; give a factory instead:\n"
        "    def build():\n"
        "        model = make_model()\n"
        f"        model.load_weights({str(path)!r})\n"
        "        return model"
    )


def _check_archive(path: Path) -> None:
    """Look into a ``.keras`` archive.

    Raises:
        SourceError: see `read`.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            infos = archive.infolist()
            names = {info.filename for info in infos}
            if "config.json" not in names:
                raise zipfile.BadZipFile("it has no config.json")
            for name in names:
                if os.path.isabs(name) or ".." in Path(name).parts:
                    raise SourceError(f"source {str(path)!r} is refused: its entry {name!r} lies outside of it")
            if sum(info.file_size for info in infos) > _limit(path):
                raise SourceError(f"source {str(path)!r} is refused: it would unpack to far more than a model needs")
            if _WEIGHTS in names:
                with tempfile.TemporaryDirectory() as folder:
                    _check_hdf5(Path(archive.extract(_WEIGHTS, folder)), path)
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError, EOFError, RuntimeError) as error:
        raise SourceError(
            f"source {str(path)!r} is damaged, or no .keras file: {one_line(error)}; those are zip archives; save the "
            "model again with model.save('model.keras')"
        ) from None
    except zipfile.zlib.error as error:  # type: ignore[attr-defined]
        raise SourceError(f"source {str(path)!r} is damaged: {error}; save the model again") from None


def _check_hdf5(path: Path, shown: Path) -> None:
    """Look into an HDF5 file, in a child process: the library ends the process on some damaged ones.

    Raises:
        SourceError: see `read`.
    """
    with path.open("rb") as file:
        start = file.read(len(_HDF5))
    if start != _HDF5:
        raise SourceError(
            f"source {str(shown)!r} is damaged, or no HDF5 file (it begins with {start!r}); save the model again"
        )
    failed = failure_of(walk_hdf5, str(path), _limit(path))
    if failed:
        raise SourceError(f"source {str(shown)!r} is damaged, or refused: {one_line(ValueError(failed))}")


def walk_hdf5(file: str, limit: int) -> None:
    """Read every group, link and dataset of a file; for a child process."""
    import h5py

    total = 0

    def visit(group: Any) -> None:
        nonlocal total
        for name in group:
            link = group.get(name, getlink=True)
            if isinstance(link, h5py.ExternalLink):
                raise ValueError(f"{name!r} is a link to another file ({link.filename!r})")
            value = group[name]
            if isinstance(value, h5py.Group):
                visit(value)
                continue
            if value.external or value.is_virtual:
                raise ValueError(f"dataset {value.name!r} keeps its data in another file")
            total += value.nbytes
            if total > limit:
                raise ValueError(f"dataset {value.name!r} of shape {value.shape} is larger than a model of this file")
            value[()]

    with h5py.File(file, "r") as opened:
        visit(opened)


def _limit(path: Path) -> int:
    return _FREE + _MOST_TIMES * path.stat().st_size
