"""What the configuration of a Keras file asks for: told before Keras follows it."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from pytest_onnxprep.errors import SourceError

#: Bytes of a configuration; those of the largest models have a few million, their vocabularies among them.
LARGEST = 32 << 20
#: Layers whose configuration is a program, or the place of one.
_PROGRAMS = {
    "TFSMLayer": "the SavedModel of another folder",
    "TorchModuleWrapper": "a pickled torch module",
}
_OWN_CHOICE = (
    "Make the layer a class of your own, or give a factory; keras.models.load_model(path, safe_mode=False) in a "
    "factory of yours is your own decision, for files you made"
)


def read(path: Path) -> dict[str, Any] | None:
    """The configuration of a file; None where an HDF5 file has none.

    Raises:
        SourceError: it is none.
    """
    if path.suffix.lower() == ".keras":
        with zipfile.ZipFile(path) as archive:
            text: Any = archive.read("config.json")
    else:
        import h5py  # type: ignore[import-untyped]

        with h5py.File(path, "r") as file:
            text = file.attrs.get("model_config")
    if text is None:
        return None
    text = text if isinstance(text, str) else bytes(text).decode("utf-8", "replace")
    try:
        if len(text) > LARGEST:
            raise ValueError("it is larger than any model needs")
        config = json.loads(text)
    except (ValueError, TypeError, RecursionError) as error:
        raise SourceError(f"source {str(path)!r} is damaged: its configuration is no JSON ({error})") from None
    if not isinstance(config, dict) or not isinstance(config.get("config"), (dict, list)):
        raise SourceError(
            f"source {str(path)!r} is damaged: its configuration describes no model ({text[:40]!r}); save the "
            "model again"
        )
    return config


def is_of_keras_2(path: Path) -> bool:
    """Whether Keras 2 wrote an HDF5 file; the oldest do not say who did."""
    import h5py

    if path.suffix.lower() == ".keras":
        return False
    with suppress(OSError), h5py.File(path, "r") as file:
        version = file.attrs.get("keras_version", "")
        version = version.decode("utf-8", "replace") if isinstance(version, bytes) else str(version)
        return version.partition(".")[0] in ("2", "")
    return False


def check(config: dict[str, Any], path: Path) -> None:
    """Refuse layers that would run code, or read other files, when they are made.

    Raises:
        SourceError: the layer is named.
    """
    for name, inner in _described(config):
        shown = f"{inner['name']!r} ({name})" if isinstance(inner.get("name"), str) else name
        vocabulary = inner.get("vocabulary")
        if name == "Lambda" and _is_code(inner):
            raise SourceError(
                f"source {str(path)!r} holds Python code (a Lambda layer): reading it runs that, so it was not read. "
                f"{_OWN_CHOICE}"
            )
        if name in _PROGRAMS:
            raise SourceError(
                f"source {str(path)!r} is refused: its layer {shown} is {_PROGRAMS[name]}, and reading it may run "
                f"code, so it was not read. {_OWN_CHOICE}"
            )
        if name.endswith(("Lookup", "TextVectorization")) and isinstance(vocabulary, str):
            raise SourceError(
                f"source {str(path)!r} is refused: its layer {shown} reads its words from another file, "
                f"{vocabulary!r}; save the model with a vocabulary of its own"
            )


def _described(config: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Class name and configuration of every object, however deep."""
    queue: list[Any] = [config]
    while queue:
        value = queue.pop()
        if isinstance(value, list):
            queue += (item for item in value if isinstance(item, (dict, list)))
        elif isinstance(value, dict):
            queue += (item for item in value.values() if isinstance(item, (dict, list)))
            if isinstance(value.get("class_name"), str) and isinstance(value.get("config"), dict):
                yield value["class_name"].rpartition(">")[2], value["config"]


def _is_code(config: dict[str, Any]) -> bool:
    """Whether a Lambda layer holds byte code, or names a function that is not Keras's own."""
    function = config.get("function")
    if isinstance(function, dict):
        return function.get("class_name") == "__lambda__"
    return function is not None
