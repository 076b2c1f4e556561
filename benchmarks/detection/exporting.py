"""The file under test of a case: exported by the plugin's own workshop, then edited where the case says so."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.detection.case import Case
from pytest_onnxprep.artifacts.store import Store
from pytest_onnxprep.checks.prepare import build_signature, example_feeds
from pytest_onnxprep.errors import ReferenceRefused
from pytest_onnxprep.exporters.workshop import Workshop
from pytest_onnxprep.runtime.session import make_session
from pytest_onnxprep.sources.base import Source
from pytest_onnxprep.sources.load import load_source
from pytest_onnxprep.spec.export_request import ExportRequest, read_export
from pytest_onnxprep.spec.signature import Signature
from pytest_onnxprep.spec.variant import Variant

ROOT = Path(__file__).resolve().parents[2]
BUILD = ROOT / "build" / "detection"

Feeds = Mapping[str, np.ndarray]


@dataclass
class Subject:
    """A case with its model built.

    Attributes:
        case: what is told about it.
        source: the reference.
        signature: declared inputs and dims.
    """

    case: Case
    source: Source
    signature: Signature
    request: ExportRequest

    @cached_property
    def sound_path(self) -> Path:
        """What the exporter makes of it today; raises what the exporter raises."""
        exported = _workshop().export(
            self.source,
            self.signature,
            Variant(self.case.exporter, self.case.opset),
            feeds=example_feeds(self.request),
        )
        return exported.path

    @cached_property
    def path(self) -> Path:
        """The file a tool has to judge; raises what the exporter raises."""
        return self.sound_path if self.case.edit is None else self._edited()

    def _edited(self) -> Path:
        import onnx

        assert self.case.edit is not None
        edited = self.case.edit(onnx.load(str(self.sound_path)))
        del edited.graph.value_info[:]  # inferred for the graph before the edit
        return save(edited, self.case.name)

    @cached_property
    def session(self) -> Any:
        """ONNX Runtime as users run it, on one thread."""
        return make_session(self.path, threads=1)

    @cached_property
    def sound_session(self) -> Any:
        """The same of the file before the edit."""
        return make_session(self.sound_path, threads=1)

    def run(self, feeds: Feeds) -> list[np.ndarray]:
        """The outputs of the file under test, in order."""
        return run_session(self.session, feeds)

    def reference(self, feeds: Feeds) -> list[np.ndarray] | None:
        """The outputs of the untouched model, in order; None where it refuses the feeds."""
        try:
            return list(self.source.run(feeds, self.signature).values())
        except ReferenceRefused:
            return None

    @cached_property
    def double(self) -> Source | None:
        """The reference cast to float64, where that is possible."""
        if self.source.framework not in ("torch", "transformers"):
            return None
        import copy

        try:
            return load_source(copy.deepcopy(self.source.model).double())
        except Exception:  # a scripted or a strange module
            return None

    def reference64(self, feeds: Feeds) -> list[np.ndarray] | None:
        """The outputs in float64; None where the model does not run in it."""
        if self.double is None:
            return None
        wide = {n: a.astype(np.float64) if a.dtype.kind == "f" else a for n, a in feeds.items()}
        try:
            return list(self.double.run(wide, self.signature).values())
        except Exception:  # constants of another dtype inside, most of the time
            return None


def open_case(case: Case) -> Subject:
    """Build the model of a case."""
    source = load_source(case.model)
    inputs = {"inputs": case.inputs} if case.inputs else {}  # some models know their own
    request = read_export(case.model, **inputs, dims=dict(case.dims))
    return Subject(case, source, build_signature(source, request), request)


def run_session(session: Any, feeds: Feeds) -> list[np.ndarray]:
    """All outputs; inputs the graph does not have (pruned, as unused) are left out."""
    known = {value.name for value in session.get_inputs()}
    return list(session.run(None, {name: array for name, array in feeds.items() if name in known}))


def save(model: Any, name: str) -> Path:
    """Write an edited model where every tool finds it; written once per content."""
    import onnx

    blob = model.SerializeToString()
    folder = BUILD / "artifacts"
    path = folder / f"{name}-{hashlib.blake2b(blob, digest_size=6).hexdigest()}.onnx"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=folder, suffix=".tmp", delete=False) as file:
            file.write(blob)
        Path(file.name).replace(path)
        onnx.checker.check_model(str(path))
    return path


_made: list[Workshop] = []


def _workshop() -> Workshop:
    if not _made:
        _made.append(Workshop(Store(BUILD / "cache", run_dir=BUILD / "run")))
    return _made[0]
