"""An ``.onnx`` file as a source: the reference another ONNX file is compared with."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from pytest_onnxprep.errors import OnnxPrepError, ReferenceRefused, SourceError, SpecError
from pytest_onnxprep.runtime import watchdog
from pytest_onnxprep.sources.base import Arrays, Double, Feeds, Source, name_outputs
from pytest_onnxprep.sources.load import one_line
from pytest_onnxprep.sources.onnx_guard import check_names, check_untrusted, read_model
from pytest_onnxprep.sources.onnx_trial import check_libraries, failure_to_load, failure_to_run
from pytest_onnxprep.sources.source_code import Digest
from pytest_onnxprep.spec.own_options import EXTENSIONS
from pytest_onnxprep.spec.shape import DimExpr, parse_dim
from pytest_onnxprep.spec.signature import Signature
from pytest_onnxprep.spec.tensor import TensorSpec

#: External data from which on memory counts: it is then mapped from the file, and never held twice.
LARGE_BYTES = 1_000_000_000
#: How ONNX Runtime says that it knows an operator from nowhere.
_UNREGISTERED = "is not a registered function/op"


class OnnxFileSource(Source):
    """Runs the file on ONNX Runtime's CPU provider with graph optimisation off: as close to the file as can be."""

    framework = "onnx"

    def __init__(self, path: Path) -> None:
        self._beside = sorted(guarded_files(path))  # read before ONNX Runtime follows where the file points
        self._large = is_large(self._beside)
        self.model = path
        self.label = f"{path.name} (ONNX file)"
        self._session: Any = None
        self._custom_ops: tuple[str, ...] = ()

    def equip(self, libraries: Sequence[str]) -> bool:
        """See `Source.equip`."""
        self._custom_ops = tuple(libraries)
        return True

    @property
    def session(self) -> Any:
        """The reference session, made on first use."""
        if self._session is None:
            from pytest_onnxprep.runtime.isolation import prove
            from pytest_onnxprep.runtime.session import make_session

            check_libraries(self._custom_ops)
            failed = failure_to_load(self.model, self._beside, self._custom_ops)
            if failed:
                raise SourceError(f"{str(self.model)!r} is not loaded here, as in a process of its own {failed}")
            try:
                if not self._custom_ops:  # a child has no operators that are written in Python
                    prove(self.model, optimized=False)
                self._session = make_session(self.model, optimized=False, lean=self._large, custom_ops=self._custom_ops)
            except OnnxPrepError:  # a library that is not there
                raise
            except Exception as error:
                raise SourceError(
                    f"source {str(self.model)!r} cannot be loaded by ONNX Runtime: {error}; {_way_out(error)}"
                ) from error
        return self._session

    def derived_signature(self) -> Signature:
        """Names, dtypes and dims as the file declares them; unnamed dynamic dims are called ``<input>_dim<axis>``."""
        from pytest_onnxprep.runtime.session import session_types

        try:
            inputs, _ = session_types(self.session)
        except UnicodeDecodeError as error:  # in a type that is no tensor's
            raise SourceError(f"{str(self.model)!r} is refused: it holds names that are no UTF-8 text") from error
        specs = {}
        for name, dtype, shape in inputs:
            dims = tuple(
                DimExpr(size) if isinstance(size, int) else _dim(size, name, axis) for axis, size in enumerate(shape)
            )
            specs[name] = TensorSpec(dtype, dims)
        return Signature(specs)

    def try_out(self, feeds: Feeds, signature: Signature) -> str:  # noqa: ARG002 - its outputs are its own
        """See `Source.try_out`."""
        return failure_to_run(self.model, self._beside, feeds, self._custom_ops)

    def run(self, feeds: Feeds, signature: Signature) -> Arrays:
        """See `Source.run`."""
        names = [output.name for output in self.session.get_outputs()]
        self.check_tried_out(feeds, signature)
        try:
            values = watchdog.run(self.session.run, names, dict(feeds), self.label)
        except OnnxPrepError:
            raise
        except Exception as error:
            raise ReferenceRefused(f"{type(error).__name__}: {one_line(error)}") from error
        return dict(name_outputs(list(zip(names, values, strict=True)), signature, self.label))

    def in_double(self, signature: Signature) -> Double:
        """See `Source.in_double`."""
        from pytest_onnxprep.runtime.double_graph import DoubleGraph

        graph = DoubleGraph(self.model)

        def run(feeds: Feeds) -> Arrays | None:
            outputs = graph.run(feeds)
            return None if outputs is None else dict(name_outputs(list(outputs.items()), signature, self.label))

        return run

    def fingerprint(self) -> Digest:
        """The bytes of the file and of its external data."""
        digest = hashlib.blake2b(digest_size=20)
        for path in [self.model, *sorted(external_files(self.model))]:
            digest.update(path.name.encode())
            with path.open("rb") as file:
                while chunk := file.read(1 << 20):
                    digest.update(chunk)
        return Digest(digest.hexdigest(), True)


def _way_out(error: Exception) -> str:
    if _UNREGISTERED in str(error):
        return (
            "name the library that has its custom operators: "
            f"options={{'ort_custom_ops': {EXTENSIONS!r}}}, or the path of a shared library"
        )
    return "check the file with onnx.checker.check_model"


def _dim(symbol: str | None, tensor: str, axis: int) -> DimExpr:
    """A symbol of an ONNX file (``past + seq`` too); ``<tensor>_dim<axis>`` where it says nothing."""
    if symbol and not symbol.startswith("unk__"):
        with suppress(SpecError, RecursionError):
            return parse_dim(symbol)
    stem = "".join(character if character.isalnum() else "_" for character in tensor)
    return DimExpr(f"{stem}_dim{axis}")


def external_files(path: Path) -> set[Path]:
    """The external data files an ONNX file refers to (only ones inside its own folder count).

    Raises:
        SourceError: the file is not ONNX, or refers to data outside its folder.
    """
    return _external_files(path, read_model(path))


def guarded_files(path: Path) -> set[Path]:
    """Likewise of a file made elsewhere, which is looked at before anybody acts on what it says.

    Raises:
        SourceError: it is not ONNX, refers to data outside its folder, is damaged, or asks for the absurd.
    """
    proto = read_model(path)
    check_names(path, proto)
    try:
        found = _external_files(path, proto)
    except ValueError as error:  # a null byte
        raise SourceError(f"{str(path)!r} is refused: it keeps data where no file can be: {error}") from error
    check_untrusted(path, proto)
    return found


def look_at(path: Path) -> None:
    """Look at an ``artifact=``, or a file to compare with, before onnx and ONNX Runtime act on what it says.

    Raises:
        SourceError: see `guarded_files`; of a file that cannot be read the contract check says so.
    """
    try:
        read_model(path)
    except SourceError:
        return
    guarded_files(path)


def try_out(path: Path, feeds: Feeds, libraries: Sequence[str]) -> None:
    """Run such a file in a process of its own before it is loaded here.

    Raises:
        SourceError: it does not end well.
    """
    try:
        beside = sorted(external_files(path))
    except SourceError:
        return
    failed = failure_to_run(path, beside, feeds, libraries)
    if failed:
        raise SourceError(f"{str(path)!r} is not loaded here, as in a process of its own {failed}")


def _external_files(path: Path, proto: Any) -> set[Path]:
    found: set[Path] = set()
    folder = path.parent.resolve()
    for tensor in tensors_of(proto):
        for entry in tensor.external_data:
            if entry.key == "location":
                target = (folder / entry.value).resolve()
                if not target.is_relative_to(folder):
                    raise SourceError(
                        f"{str(path)!r} is refused: tensor {tensor.name!r} keeps its data outside the file's folder, "
                        f"at {entry.value!r}; copy the data beside the file and save it with a plain file name"
                    )
                found.add(target)
    return found


def is_large(files: Iterable[Path]) -> bool:
    """Whether external data is too much to be held in memory twice."""
    return sum(file.stat().st_size for file in files if file.is_file()) >= LARGE_BYTES


def tensors_of(proto: Any) -> Iterator[Any]:
    """Every tensor a model holds, wherever data may be kept outside the file."""
    yield from _of_graph(proto.graph)
    for function in proto.functions:
        yield from _of_nodes(function.node)


def _of_graph(graph: Any) -> Iterator[Any]:
    yield from graph.initializer
    for sparse in graph.sparse_initializer:
        yield from (sparse.values, sparse.indices)
    yield from _of_nodes(graph.node)


def _of_nodes(nodes: Any) -> Iterator[Any]:
    for node in nodes:
        for attribute in node.attribute:
            yield from (attribute.t, *attribute.tensors)
            for sparse in (attribute.sparse_tensor, *attribute.sparse_tensors):
                yield from (sparse.values, sparse.indices)
            for graph in (attribute.g, *attribute.graphs):
                yield from _of_graph(graph)
