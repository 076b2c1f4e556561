"""A SavedModel folder, through one of its signatures: ``folder`` or ``folder#signature``."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

from pytest_onnxprep.errors import SourceError, closest
from pytest_onnxprep.sources.load import one_line
from pytest_onnxprep.sources.source_code import Digest
from pytest_onnxprep.sources.tensorflow_function import TfFunctionSource, signature_of
from pytest_onnxprep.spec.signature import Signature

SERVING = "serving_default"
#: Signatures that TensorFlow makes for itself.
_OWN = "__saved_model"
#: Operators that touch the disk or run Python: a graph that holds one is a program, and no model.
_ACTING = frozenset(
    {
        "ReadFile",
        "WriteFile",
        "MatchingFiles",
        "PyFunc",
        "PyFuncStateless",
        "EagerPyFunc",
        "RemoteFusedGraphExecute",
        "DebugIdentity",
        "DebugIdentityV2",
        "DebugNumericSummary",
        "SaveSlices",
    }
)


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
        _check_operators(folder)
        self._loaded = _load(folder)  # keeps the variables alive
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


def _check_operators(folder: Path) -> None:
    """Refuse a graph that reads or writes files, or calls Python, before any of it runs."""
    from tensorflow.core.protobuf import saved_model_pb2

    saved = saved_model_pb2.SavedModel()
    try:
        saved.ParseFromString((folder / "saved_model.pb").read_bytes())
    except Exception as error:
        raise SourceError(f"SavedModel {str(folder)!r} is damaged: {one_line(error)}; save the model again") from None
    for operator in _operators(saved):
        if operator in _ACTING:
            raise SourceError(
                f"SavedModel {str(folder)!r} is refused: its graph holds {operator}, which acts outside the model; "
                "nothing of it was run. Save the part that computes by itself"
            )


def _operators(saved: Any) -> Iterator[str]:
    for meta in saved.meta_graphs:
        yield from (node.op for node in meta.graph_def.node)
        for function in meta.graph_def.library.function:
            yield from (node.op for node in function.node_def)


def _load(folder: Path) -> Any:
    """The folder with its objects.

    An optimizer of a Keras that is not here is an object without a class, and TensorFlow asks it for its slots: it gets
    ones that nobody reads.
    """
    import tensorflow as tf
    from tensorflow.python.trackable.autotrackable import AutoTrackable

    def add_slot(_: Any, var: Any, *__: Any, **___: Any) -> Any:
        return tf.Variable(tf.zeros_like(var), trainable=False)

    try:
        with mock.patch.object(AutoTrackable, "add_slot", add_slot, create=True):
            return tf.saved_model.load(str(folder))
    except Exception as error:
        raise SourceError(
            f"SavedModel {str(folder)!r} cannot be read: {one_line(error)}; save the model again"
        ) from error
