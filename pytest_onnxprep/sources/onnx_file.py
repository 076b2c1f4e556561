"""An ``.onnx`` file as a source: the reference another ONNX file is compared with."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from pytest_onnxprep.errors import ReferenceRefused, SourceError
from pytest_onnxprep.sources.base import Arrays, Feeds, Source, name_outputs
from pytest_onnxprep.sources.source_code import Digest
from pytest_onnxprep.spec.shape import DimExpr
from pytest_onnxprep.spec.signature import Signature
from pytest_onnxprep.spec.tensor import TensorSpec


class OnnxFileSource(Source):
    """Runs the file on ONNX Runtime's CPU provider with graph optimisation off: as close to the file as can be."""

    framework = "onnx"

    def __init__(self, path: Path) -> None:
        self.model = path
        self.label = f"{path.name} (ONNX file)"
        self._session: Any = None

    @property
    def session(self) -> Any:
        """The reference session, made on first use."""
        if self._session is None:
            from pytest_onnxprep.runtime.session import make_session

            try:
                self._session = make_session(self.model, optimized=False)
            except Exception as error:
                raise SourceError(
                    f"source {str(self.model)!r} cannot be loaded by ONNX Runtime: {error}; "
                    "check the file with onnx.checker.check_model"
                ) from error
        return self._session

    def derived_signature(self) -> Signature:
        """Names, dtypes and dims as the file declares them; unnamed dynamic dims are called ``<input>_dim<axis>``."""
        from pytest_onnxprep.runtime.session import session_types

        inputs, _ = session_types(self.session)
        specs = {}
        for name, dtype, shape in inputs:
            dims = tuple(
                DimExpr(size) if isinstance(size, int) else DimExpr(dim_name(size, name, axis))
                for axis, size in enumerate(shape)
            )
            specs[name] = TensorSpec(dtype, dims)
        return Signature(specs)

    def run(self, feeds: Feeds, signature: Signature) -> Arrays:
        """See `Source.run`."""
        names = [output.name for output in self.session.get_outputs()]
        try:
            values = self.session.run(names, dict(feeds))
        except Exception as error:
            raise ReferenceRefused(f"{type(error).__name__}: {error}") from error
        return dict(name_outputs(list(zip(names, values, strict=True)), signature, self.label))

    def fingerprint(self) -> Digest:
        """The bytes of the file and of its external data."""
        digest = hashlib.blake2b(digest_size=20)
        for path in [self.model, *sorted(external_files(self.model))]:
            digest.update(path.name.encode())
            with path.open("rb") as file:
                while chunk := file.read(1 << 20):
                    digest.update(chunk)
        return Digest(digest.hexdigest(), True)


def dim_name(symbol: str | None, tensor: str, axis: int) -> str:
    """A dim name for a symbol of an ONNX file; ``<tensor>_dim<axis>`` where it has none that is an identifier."""
    if symbol and symbol.isidentifier() and not symbol.startswith("unk__"):
        return symbol
    stem = "".join(character if character.isalnum() else "_" for character in tensor)
    return f"{stem}_dim{axis}"


def external_files(path: Path) -> set[Path]:
    """The external data files an ONNX file refers to (only ones inside its own folder count).

    Raises:
        SourceError: the file is not ONNX, or refers to data outside its folder.
    """
    import onnx

    try:
        proto = onnx.load(str(path), load_external_data=False)
    except Exception as error:
        raise SourceError(f"{str(path)!r} is not a readable ONNX file: {error}") from error
    found: set[Path] = set()
    folder = path.parent.resolve()
    for tensor in _tensors(proto.graph):
        for entry in tensor.external_data:
            if entry.key == "location":
                target = (folder / entry.value).resolve()
                if not target.is_relative_to(folder):
                    raise SourceError(f"{str(path)!r}: tensor {tensor.name!r} points outside its folder: {entry.value!r}")
                found.add(target)
    return found


def _tensors(graph: Any) -> Any:
    yield from graph.initializer
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield attribute.t
            if attribute.HasField("g"):
                yield from _tensors(attribute.g)
