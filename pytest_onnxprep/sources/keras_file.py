"""``.keras`` and ``.h5`` files: looked into before Keras reads them."""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pytest_onnxprep.errors import SourceError
from pytest_onnxprep.sources import keras2_config, keras_config
from pytest_onnxprep.sources.base import Feeds
from pytest_onnxprep.sources.load import one_line
from pytest_onnxprep.sources.trial import failure_of, failure_of_run, limits, read_feeds
from pytest_onnxprep.spec.visible import visible

_HDF5 = b"\x89HDF\r\n\x1a\n"
_WEIGHTS = "model.weights.h5"
#: Bytes a file may become in memory for each byte it has on disk, beyond a first gigabyte.
_MOST_TIMES = 100
_FREE = 1 << 30
#: What the backends say where there is no memory.
_NO_MEMORY = ("OOM when allocating", "can't allocate memory", "Out of memory", "Unable to allocate")


def read(path: Path) -> Any:
    """Read a model.

    Raises:
        SourceError: the file is damaged, holds weights only, or would run code or follow links when it is read.
    """
    import keras  # noqa: F401 - a missing Keras is told before anything else

    if path.suffix.lower() == ".keras":
        _check_archive(path)
    else:
        _check_hdf5(path, path)
    if path.name.endswith(".weights.h5"):
        raise SourceError(_needs_model(path))
    try:
        return load(path)
    except Exception as error:
        raise SourceError(_told(path, error)) from error


def load(path: Path) -> Any:
    """Let Keras read a file, in its own words where Keras 2 wrote it."""
    import keras

    config = keras_config.read(path) if keras_config.is_of_keras_2(path) else None
    if config is None:
        return keras.models.load_model(path, compile=False, custom_objects=_of_applications())
    import h5py  # type: ignore[import-untyped]
    from keras.src.legacy.saving.legacy_h5_format import load_model_from_hdf5

    objects = {**_of_applications(), keras2_config.HARD_SIGMOID: keras2_config.hard_sigmoid}
    with h5py.File(io.BytesIO(path.read_bytes()), "r+") as copied:  # the file itself stays as it is
        copied.attrs["model_config"] = json.dumps(keras2_config.modernised(config))
        with keras.saving.custom_object_scope(objects):
            return load_model_from_hdf5(copied, compile=False, safe_mode=True)


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
    unknown = re.search(r"(?:Could not locate|Unknown) (class|function|layer|object):? '(\w+)'", text)
    if unknown and unknown[2] in ("TFOpLambda", "SlicingOpLambda"):
        return (
            f"source {str(path)!r} holds bare TensorFlow operations ({unknown[2]}), which only Keras 2 reads; save the "
            "model as a SavedModel there (model.export or tf.saved_model.save), or build it anew and load its weights "
            "in a factory"
        )
    if unknown:
        return (
            f"source {str(path)!r} cannot be read by Keras, which knows no {unknown[1]} {unknown[2]!r}; import the "
            "code of its own layers first, in a factory: "
            f"lambda: keras.models.load_model({str(path)!r}, custom_objects={{...}})"
        )
    inner = text.rpartition("Exception encountered: ")[2] if "could not be deserialized properly" in text else text
    shown = visible(inner)  # without the colours
    called = re.match(r"(Exception encountered when calling .*?)\.?\s+(\S.*)", shown)
    said = f"{called[1]}: {called[2]}" if called else shown
    return f"source {str(path)!r} cannot be read by Keras: {one_line(ValueError(said.partition(' If you trust ')[0]))}"


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
            if archive.getinfo("config.json").file_size > keras_config.LARGEST:
                raise SourceError(f"source {str(path)!r} is refused: its config.json is larger than any model needs")
            with tempfile.TemporaryDirectory() as folder:
                _check_hdf5(Path(archive.extract(_WEIGHTS, folder)) if _WEIGHTS in names else None, path)
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError, EOFError, RuntimeError) as error:
        raise SourceError(
            f"source {str(path)!r} is damaged, or no .keras file: {one_line(error)}; those are zip archives; save the "
            "model again with model.save('model.keras')"
        ) from None
    except zipfile.zlib.error as error:  # type: ignore[attr-defined]
        raise SourceError(f"source {str(path)!r} is damaged: {error}; save the model again") from None


def _check_hdf5(weights: Path | None, path: Path) -> None:
    """Look into an HDF5 file and build what is described, in a child process.

    The library ends the process on some damaged files, and Keras makes variables of any size before it looks whether
    the weights fill them.

    Raises:
        SourceError: see `read`.
    """
    if weights is not None:
        with weights.open("rb") as file:
            start = file.read(len(_HDF5))
        if start != _HDF5:
            found = f"it begins with {start!r}" if start else "it is empty"
            raise SourceError(f"source {str(path)!r} is damaged, or no HDF5 file ({found}); save the model again")
    size = path.stat().st_size if weights is None else weights.stat().st_size
    failed = failure_of(look_into, str(path), str(weights or ""), _limit(path), **limits(size))
    if failed.startswith(f"source {str(path)!r}"):
        raise SourceError(failed)
    if failed:
        raise SourceError(f"source {str(path)!r} is damaged, or refused: {one_line(ValueError(failed))}")


def prepare() -> None:
    """Load what the trial needs; see `trial`."""
    import h5py  # noqa: F401
    import keras  # noqa: F401


def look_into(file: str, weights: str, limit: int) -> None:
    """Read the weights, check the configuration and build the model without them; for a child process.

    What Keras merely refuses is no failure here.
    """
    path = Path(file)
    if weights:
        walk_hdf5(weights, limit)
    config = keras_config.read(path)
    if config is None or path.name.endswith(".weights.h5"):
        return
    keras_config.check(config, path)
    with _only_memory():
        _build(path, config)


def try_out(path: Path, feeds: Feeds) -> str:
    """See `Source.try_out`."""
    return failure_of_run(run_apart, str(path), feeds, **limits(path.stat().st_size))


def run_apart(file: str, feeds: str, dtypes: dict[str, str]) -> None:
    """Read a model that `look_into` let pass and run it once; for a child process."""
    import keras

    from pytest_onnxprep.sources.keras_model import KerasSource

    with _only_memory():
        model = load(Path(file))
        arrays = read_feeds(feeds, dtypes)
        KerasSource(model).call({name: keras.ops.convert_to_tensor(array) for name, array in arrays.items()})


@contextlib.contextmanager
def _only_memory() -> Iterator[None]:
    """What Keras and its backends raise is told by this process; but for memory, of which it has more."""
    try:
        yield
    except Exception as error:
        if isinstance(error, MemoryError) or any(said in str(error) for said in _NO_MEMORY):
            raise MemoryError from None


def _build(path: Path, config: dict[str, Any]) -> None:
    """Without the files in an archive: those would have to be unpacked, and a trial writes none."""
    import keras
    from keras.src.saving.serialization_lib import ObjectSharingScope

    if path.suffix.lower() != ".keras":
        load(path)
        return
    config["compile_config"] = None
    with ObjectSharingScope():
        keras.saving.deserialize_keras_object(config, custom_objects=_of_applications(), safe_mode=True)


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
