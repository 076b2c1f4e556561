"""A SavedModel folder, through one of its signatures: ``folder`` or ``folder#signature``."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any
from unittest import mock

from pytest_onnxprep.errors import SourceError, closest
from pytest_onnxprep.sources import saved_graph
from pytest_onnxprep.sources.base import Feeds
from pytest_onnxprep.sources.load import one_line
from pytest_onnxprep.sources.source_code import Digest
from pytest_onnxprep.sources.tensorflow_function import TfFunctionSource, signature_of
from pytest_onnxprep.sources.trial import failure_of, failure_of_run, limits, read_feeds
from pytest_onnxprep.spec.signature import Signature

SERVING = "serving_default"
#: Signatures that TensorFlow makes for itself.
_OWN = "__saved_model"


def load_folder(path: Path) -> SavedModelSource:
    """Make a source of a folder, or of ``folder#signature``."""
    folder, name = path, ""
    if not path.exists():
        stem, _, name = path.name.rpartition("#")
        folder = path.with_name(stem)
    return SavedModelSource(folder, name)


class SavedModelSource(TfFunctionSource):
    """A SavedModel folder, through one signature.

    Args:
        folder: the folder.
        name: of the signature; empty for ``serving_default``, or the only one there is.

    Raises:
        SourceError: it is damaged, holds operators that act outside the model, or has no such signature.
    """

    def __init__(self, folder: Path, name: str = "") -> None:
        self.folder = folder
        saved_graph.check(folder)
        failed = failure_of(load_apart, str(folder), **limits(_size(folder)))
        if failed:
            raise SourceError(_unreadable(folder, ValueError(failed)))
        self._open(name)

    def _open(self, name: str) -> None:
        folder = self.folder
        try:
            self._loaded = _load(folder)  # keeps the variables alive
        except Exception as error:
            raise SourceError(_unreadable(folder, error)) from error
        signatures = {key: value for key, value in self._loaded.signatures.items() if not key.startswith(_OWN)}
        if not name:
            name = SERVING if SERVING in signatures or len(signatures) != 1 else next(iter(signatures))
        if name not in signatures:
            known = ", ".join(signatures) or "none"
            raise SourceError(
                f"SavedModel {str(folder)!r} has no {name!r} signature{closest(name, signatures)} It has: {known}. "
                f"Choose one with source='{folder.name}#name'"
            )
        self.model = signatures[name]
        self.label = f"{folder.name} (SavedModel{'' if name == SERVING else f', signature {name}'})"
        self._name = name

    def derived_signature(self) -> Signature:
        """The inputs of the signature."""
        return signature_of({name: self.model.structured_input_signature[1][name] for name in self._own_inputs()})

    def call(self, tensors: Any) -> Any:
        """Signatures take keywords; inputs of other names are taken in order."""
        own = self._own_inputs()
        if set(tensors) != set(own) and len(tensors) == len(own):
            tensors = dict(zip(own, tensors.values(), strict=True))
        return self.model(**tensors)

    def try_out(self, feeds: Feeds, signature: Signature) -> str:  # noqa: ARG002 - outputs are not looked at
        """See `Source.try_out`."""
        return failure_of_run(run_apart, f"{self.folder}#{self._name}", feeds, **limits(_size(self.folder)))

    def _own_inputs(self) -> list[str]:
        """By name: TensorFlow lists them in another order in every process."""
        return sorted(self.model.structured_input_signature[1])

    def fingerprint(self) -> Digest:
        """Every file of the folder, by content."""
        digest = hashlib.blake2b(self._name.encode(), digest_size=20)
        for path in sorted(p for p in self.folder.rglob("*") if p.is_file() and p.name != "fingerprint.pb"):
            digest.update(str(path.relative_to(self.folder)).encode())
            digest.update(path.read_bytes())
        return Digest(digest.hexdigest(), True)


def prepare() -> None:
    """Load what the trials need; see `trial`."""
    import tensorflow  # noqa: F401


def load_apart(folder: str) -> None:
    """Load it, which runs its initialisers; for a child process."""
    import tensorflow as tf

    _settle()
    try:
        _load(Path(folder))
    except tf.errors.ResourceExhaustedError:
        raise MemoryError from None


def run_apart(place: str, path: str, dtypes: dict[str, str]) -> None:
    """Load ``folder#signature`` and run it once; for a child process.

    What TensorFlow merely refuses is no failure here.
    """
    import tensorflow as tf

    _settle()
    folder, _, name = place.rpartition("#")
    source = SavedModelSource.__new__(SavedModelSource)  # checked already
    source.folder = Path(folder)
    source._open(name)
    try:
        source.call({key: tf.convert_to_tensor(array) for key, array in read_feeds(path, dtypes).items()})
    except (tf.errors.ResourceExhaustedError, MemoryError):
        raise MemoryError from None
    except Exception:  # noqa: S110 - `run` tells it
        pass


def _settle() -> None:
    """Few threads, as each reserves address space, and no optimizer: it tries, ten seconds each, what does not fit."""
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(2)
    tf.config.threading.set_inter_op_parallelism_threads(2)
    tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _load(folder: Path) -> Any:
    """The folder with its objects.

    An optimizer of a Keras that is not here is an object without a class, and TensorFlow asks it for its slots: it gets
    ones that nobody reads.
    """
    import tensorflow as tf
    from tensorflow.python.trackable.autotrackable import AutoTrackable

    def add_slot(_: Any, var: Any, *__: Any, **___: Any) -> Any:
        return tf.Variable(tf.zeros_like(var), trainable=False)

    with mock.patch.object(AutoTrackable, "add_slot", add_slot, create=True):
        return tf.saved_model.load(str(folder))


def _unreadable(folder: Path, error: Exception) -> str:
    return f"SavedModel {str(folder)!r} cannot be read: {one_line(error)}; save the model again"
