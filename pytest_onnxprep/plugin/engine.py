"""What one process keeps for the whole run: the store, the workshop and the sources in use."""

from __future__ import annotations

import functools
import os
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from pytest_onnxprep.artifacts.onnx_model import OnnxModel
from pytest_onnxprep.artifacts.store import Store
from pytest_onnxprep.checks.prepare import build_signature, example_feeds, load_samples
from pytest_onnxprep.compose import strategies as compose
from pytest_onnxprep.errors import ExporterError, ReferenceUnavailable, SourceError, own_frames_hidden
from pytest_onnxprep.exporters.isolated import recipe_of
from pytest_onnxprep.exporters.workshop import Workshop
from pytest_onnxprep.plugin.keys import ENGINE
from pytest_onnxprep.plugin.options import flag, no_cache, option
from pytest_onnxprep.runtime import isolation
from pytest_onnxprep.sources.base import Source
from pytest_onnxprep.sources.load import load_source, places
from pytest_onnxprep.sources.pipeline import ComposedSource
from pytest_onnxprep.spec.export_request import ExportRequest, read_export
from pytest_onnxprep.spec.own_options import custom_op_libraries, with_found_libraries
from pytest_onnxprep.spec.signature import Signature
from pytest_onnxprep.spec.variant import Variant

#: Sources kept alive. The items of a test stand side by side, so a few are enough, and memory stays bounded.
_KEPT_SOURCES = 3
#: Weights from which on a source is kept alone.
_LARGE_BYTES = 1_000_000_000


class _Kept(NamedTuple):
    """A source that stays loaded.

    Args:
        value: what it was loaded from.
        source: the loaded one.
        is_large: whether it is kept alone.
        libraries: of custom operators it runs with; None where any will do.
    """

    value: Any
    source: Source
    is_large: bool
    libraries: tuple[str, ...] | None


class Prepared:
    """A loaded source with its signature and the user's samples."""

    def __init__(self, source: Source, request: ExportRequest, base: Path) -> None:
        self.source = source
        self.signature: Signature = request.strategy.signature(build_signature(source, request))
        self.samples = load_samples(request.samples, self.signature, base)
        self.feeds = example_feeds(request)


class Engine:
    """Makes exports for items and for ``onnx_exporter``."""

    def __init__(self, config: pytest.Config) -> None:
        run_dir = _run_dir(config)
        folder = option(config, "cache")
        cache = run_dir / "cache" if no_cache(config) else config.rootpath / Path(folder).expanduser()
        self.references = None if no_cache(config) else cache / "references"
        self.replays = config.rootpath / ".onnxprep" / "replay"
        self.workshop = Workshop(Store(cache, run_dir=run_dir), provider=option(config, "provider") or None)
        self.isolated = flag(config, "isolate")
        isolation.enable(self.isolated)
        self._sources: OrderedDict[tuple[int, tuple[str, ...] | None], _Kept] = OrderedDict()

    def prepare(self, request: ExportRequest, value: Any, base: Path, options: Mapping[str, Any]) -> Prepared:
        """Load the source (once for a factory several items share) and settle its signature.

        Args:
            request: what the mark says.
            value: the source as the user gave it.
            base: the folder of the test.
            options: of the variant.
        """
        libraries = custom_op_libraries(with_found_libraries(options, base))
        return Prepared(self.source(value, base, libraries), request, base)

    def source(self, value: Any, base: Path, libraries: tuple[str, ...] = ()) -> Source:
        """The loaded source; the last few stay loaded, a large one alone.

        Args:
            value: what the user gave.
            base: the folder of the test.
            libraries: of custom operators, for a reference that ONNX Runtime runs.
        """
        kept = self._sources.pop((id(value), None), None) or self._sources.pop((id(value), libraries), None)
        if kept is None or kept.value is not value:
            kept = self._load(value, base, libraries)
        self._sources[id(value), kept.libraries] = kept
        while len(self._sources) > (1 if kept.is_large else _KEPT_SOURCES):
            self._sources.popitem(last=False)
        return kept.source

    def _load(self, value: Any, base: Path, libraries: tuple[str, ...]) -> _Kept:
        source = load_source(value, base=base)
        if self.isolated:
            _isolate(source, value, base)
        is_large = sum(array.nbytes for _, array in source.held_weights()) > _LARGE_BYTES
        return _Kept(value, source, is_large, libraries if source.equip(libraries) else None)

    def export(self, prepared: Prepared, request: ExportRequest, variant: Variant, base: Path) -> OnnxModel:
        """The checked file of one variant.

        A sample is traced with only where the model refuses made-up inputs: tracing with the very input that showed
        a bug could bake in the branch that hides it.
        """
        export = functools.partial(
            compose.export,
            self.workshop,
            prepared.source,
            prepared.signature,
            replace(variant, options=with_found_libraries(variant.options, base)),
            domains=request.domains,
            artifact=_artifact(request, base),
            buckets=request.strategy.buckets,
        )
        try:
            return export(feeds=prepared.feeds)
        except SourceError:
            if prepared.feeds is not None or not prepared.samples:
                raise
        return export(feeds=next(iter(prepared.samples.values())))

    def exporter(self, base: Path) -> Callable[..., OnnxModel]:
        """The function behind the fixture ``onnx_exporter``."""

        @own_frames_hidden
        def onnx_exporter(source: Any, **arguments: Any) -> OnnxModel:
            """Export ``source`` and return its `OnnxModel`; takes the arguments of ``@onnx_export``."""
            request = read_export(source, **arguments)
            if len(request.exporters) * len(request.opsets) * len(request.options) != 1:
                raise ExporterError(
                    "onnx_exporter makes one file: give one exporter, one opset and one options mapping"
                )
            variant = Variant(request.exporters[0], request.opsets[0], request.options[0])
            try:
                prepared = self.prepare(request, source, base, variant.options)
                return self.export(prepared, request, variant, base)
            except ReferenceUnavailable as error:
                raise pytest.skip.Exception(str(error)) from None

        return onnx_exporter


def _isolate(source: Source, value: Any, base: Path) -> None:
    """Say how another process gets the model, or the models it consists of."""
    source.recipe = recipe_of(value, base)
    if isinstance(source, ComposedSource):
        for stage in source.parts.values():
            stage.source.recipe = recipe_of(stage.spec.source, base)


def engine_of(config: pytest.Config) -> Engine:
    """The engine of this process, made on first use."""
    engine = config.stash.get(ENGINE, None)
    if engine is None:
        engine = config.stash[ENGINE] = Engine(config)
    return engine


def _run_dir(config: pytest.Config) -> Path:
    """A temporary folder shared by all workers of this run."""
    factory: Any = config._tmp_path_factory  # type: ignore[attr-defined]
    base: Path = factory.getbasetemp()
    shared = base.parent if os.environ.get("PYTEST_XDIST_WORKER") else base
    folder = shared / "onnxprep"
    folder.mkdir(exist_ok=True)
    return folder


def _artifact(request: ExportRequest, base: Path) -> Path | None:
    if request.artifact is None:
        return None
    path = Path(request.artifact)
    candidates = places(path, base)
    for candidate in candidates:
        if os.path.isfile(candidate):
            return candidate
    looked = " and ".join(map(str, candidates))
    raise SourceError(
        f"artifact {str(path)!r} does not exist (looked for {looked}); the path of an .onnx file is accepted"
    )
