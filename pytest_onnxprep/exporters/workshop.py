"""One export per variant: from a source and a variant to a checked `OnnxModel`, through the store."""

from __future__ import annotations

import importlib
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from pytest_onnxprep.artifacts.onnx_model import OnnxModel
from pytest_onnxprep.artifacts.store import Store
from pytest_onnxprep.errors import ExporterError, ExportFailed, Finding, OnnxPrepError, ReferenceRefused, SourceError
from pytest_onnxprep.exporters import catalog
from pytest_onnxprep.exporters.additions import add_to
from pytest_onnxprep.exporters.chatter import Chatter, captured, tracer_warnings
from pytest_onnxprep.exporters.contract import check_contract
from pytest_onnxprep.exporters.export_key import export_key, provers
from pytest_onnxprep.exporters.failure import export_failed, reasons, sections
from pytest_onnxprep.exporters.isolated import export_apart, recipe_of
from pytest_onnxprep.exporters.job import ExportJob
from pytest_onnxprep.exporters.largest import try_at_largest
from pytest_onnxprep.exporters.naming import declare_dims
from pytest_onnxprep.exporters.provenance import is_record, record
from pytest_onnxprep.fuzz.example import Maker
from pytest_onnxprep.runtime.session import provider_name
from pytest_onnxprep.sources.base import Source
from pytest_onnxprep.sources.custody import Custody, untouched
from pytest_onnxprep.sources.load import load_source
from pytest_onnxprep.sources.onnx_file import look_at, try_out
from pytest_onnxprep.sources.onnx_trial import check_libraries
from pytest_onnxprep.sources.turn import Turn
from pytest_onnxprep.sources.turned import turned
from pytest_onnxprep.spec.own_options import custom_op_libraries
from pytest_onnxprep.spec.signature import Signature
from pytest_onnxprep.spec.variant import Variant

#: Models kept open: each holds its source, and a session once it ran. The store has them all.
_KEPT = 16


class Workshop:
    """Makes and remembers the exports of one run.

    Args:
        store: the shared cache.
        provider: execution provider the sessions are made with.

    Raises:
        OnnxPrepError: no such provider, or not one of this ONNX Runtime.
    """

    def __init__(self, store: Store, *, provider: str | None = None) -> None:
        if provider is not None:
            provider_name(provider)  # a wrong name is told before anything is exported
        self.store = store
        self.provider = provider
        self._made: dict[str, OnnxModel | Finding] = {}
        #: Rewritten models, by the identity of what makes them.
        self._others: dict[int, tuple[Any, Source]] = {}

    def export(
        self,
        source: Source,
        signature: Signature,
        variant: Variant,
        *,
        domains: tuple[str, ...] = (),
        feeds: Mapping[str, np.ndarray] | None = None,
        artifact: Path | None = None,
    ) -> OnnxModel:
        """Export (or find) the file of a variant and hold it to its contract.

        Args:
            source: the loaded model.
            signature: declared inputs, outputs and dims.
            variant: exporter, opset, options.
            domains: operator domains allowed beside ONNX's own.
            feeds: example inputs to trace with, where the user gave some.
            artifact: a file made elsewhere, to be taken as it is.

        Raises:
            Finding: the export failed, or broke the contract; the same one again for every later caller.
            OnnxPrepError: the exporter, the source or the cache is at fault, not the model.
        """
        if "rewritten" in variant.options and artifact is None:
            return self._export_rewritten(source, signature, variant, domains, feeds)
        variant = self._settled(source, variant, artifact)
        check_libraries(custom_op_libraries(variant.options))
        if artifact is None:
            catalog.check_layout(catalog.find(variant.exporter or "none"), Turn.of(variant.options))
        if not source.built():  # its fingerprint would know nothing of the weights
            trace_run(source, signature, _example(signature) if feeds is None else feeds)
        key, stable = export_key(source, signature, variant, domains, feeds, artifact)
        made = self._made.get(key)
        if made is None:
            try:
                made = self._export(key, source, signature, variant, domains, feeds, artifact)
                if not stable:
                    made.provenance = {**made.provenance, "cacheable": False}
                    made.key = ""
            except Finding as finding:
                made = finding
            self._remember(key, made)
        if isinstance(made, Finding):
            raise made.with_traceback(None)
        return made

    def _export_rewritten(
        self,
        source: Source,
        signature: Signature,
        variant: Variant,
        domains: tuple[str, ...],
        feeds: Mapping[str, np.ndarray] | None,
    ) -> OnnxModel:
        """Export the equivalent model of ``options['rewritten']``; the reference stays the original."""
        options = {name: value for name, value in variant.options.items() if name != "rewritten"}
        other = self._rewritten(variant.options["rewritten"])
        if source.recipe is not None:  # exports are isolated
            other.recipe = recipe_of(variant.options["rewritten"], Path.cwd())
        other = turned(other, Turn.of(variant.options))
        made = self.export(other, signature, replace(variant, options=options), domains=domains, feeds=feeds)
        try:
            trace_run(source, made.signature, _example(signature) if feeds is None else feeds)
        except SourceError as error:
            raise ExporterError(
                f"options['rewritten']: the outputs of {other.label} are {', '.join(made.signature.outputs or {})}; "
                f"{source.label} must have the same, or name them in outputs=: {error}"
            ) from error
        provenance = {**made.provenance, "source": source.label, "rewritten_as": other.label}
        variant = replace(made.variant, options=variant.options)
        return OnnxModel(
            made.path, made.signature, source, variant, provenance, provider=self.provider, cached=made.cached
        )

    def _rewritten(self, value: Any) -> Source:
        kept = self._others.get(id(value))
        if kept is None or kept[0] is not value:
            kept = self._others[id(value)] = (value, load_source(value))
            while len(self._others) > _KEPT:
                del self._others[next(iter(self._others))]
        return kept[1]

    def _remember(self, key: str, made: OnnxModel | Finding) -> None:
        if isinstance(made, OnnxModel) and made.is_large:  # of large models only the variants of one are kept
            for old, other in list(self._made.items()):
                if isinstance(other, OnnxModel) and other.is_large and other.source is not made.source:
                    del self._made[old]
        self._made[key] = made
        while len(self._made) > _KEPT:
            del self._made[next(iter(self._made))]

    def _settled(self, source: Source, variant: Variant, artifact: Path | None) -> Variant:
        """The variant with exporter and opset filled in, refused where they do not fit the source."""
        if artifact is not None:
            return replace(variant, exporter="none")
        unsuited, last_resorts = source.unsuited(), source.last_resorts()
        name, opset = variant.exporter, variant.opset
        if variant.asked is not None and variant.asked[0] is None:  # put a guess made at collection right
            guessed = catalog.find(name) if name else None
            if guessed is None or source.framework not in guessed.frameworks or name in {**unsuited, **last_resorts}:
                name, opset = variant.asked
        name = name or catalog.best_for(source.framework, opset, unsuited, last_resorts)
        info = catalog.find(name)
        catalog.check_framework(info, source.framework, source.label, unsuited)
        catalog.check_opset(info, opset)
        return replace(variant, exporter=name, opset=opset or info.default_opset)

    def _export(
        self,
        key: str,
        source: Source,
        signature: Signature,
        variant: Variant,
        domains: tuple[str, ...],
        feeds: Mapping[str, np.ndarray] | None,
        artifact: Path | None,
    ) -> OnnxModel:
        if artifact is not None or source.framework == "onnx":
            return self._adopt(source, signature, variant, domains, feeds, artifact or Path(source.model))

        def make(folder: Path) -> dict[str, Any]:
            return make_export(source, signature, variant, domains, feeds, folder)

        entry = self.store.get_or_make(key, make, accepts=is_record)
        named = signature.with_outputs(entry.provenance["outputs"])
        proven = not entry.cached or entry.provenance.get("proven_with") == provers()
        if self.provider is not None or not proven:
            # The store vouches for the bytes; what another onnx or ONNX Runtime makes of them is found out anew.
            check_contract(
                entry.path,
                named,
                opset=variant.opset,
                domains=_allowed(variant, domains),
                provider=self.provider,
                custom_ops=custom_op_libraries(variant.options),
            )
        return OnnxModel(
            entry.path, named, source, variant, entry.provenance, provider=self.provider, cached=entry.cached, key=key
        )

    def _adopt(
        self,
        source: Source,
        signature: Signature,
        variant: Variant,
        domains: tuple[str, ...],
        feeds: Mapping[str, np.ndarray] | None,
        path: Path,
    ) -> OnnxModel:
        """Take a file made elsewhere: same contract, no naming of dims, no copy."""
        feeds = _example(signature) if feeds is None else feeds
        look_at(path)
        natural = list(trace_run(source, signature, feeds))
        libraries = custom_op_libraries(variant.options)
        if path != source.model:
            try_out(path, feeds, libraries)
        try_at_largest(path, signature, libraries)
        named = _with_own_outputs(signature, natural, path)
        check_contract(
            path,
            named,
            opset=variant.opset,
            domains=domains or None,
            provider=self.provider,
            custom_ops=custom_op_libraries(variant.options),
        )
        provenance = {"source": source.label, "exporter": "none", "file": str(path), "outputs": natural}
        return OnnxModel(path, named, source, variant, provenance, provider=self.provider)


def _with_own_outputs(signature: Signature, natural: list[str], path: Path) -> Signature:
    """Nobody declared the outputs: they are the framework's; other names for as many are the file's, taken in order."""
    import onnx

    if signature.outputs is not None:
        return signature
    try:
        found = [value.name for value in onnx.load(str(path), load_external_data=False).graph.output]
    except Exception:  # unreadable: the contract check says so
        return signature
    own = len(found) == len(natural) and set(found) != set(natural)
    return signature.with_outputs(found if own else natural)


def make_export(
    source: Source,
    signature: Signature,
    variant: Variant,
    domains: tuple[str, ...],
    feeds: Mapping[str, np.ndarray] | None,
    folder: Path,
) -> dict[str, Any]:
    """Run the exporter into ``folder`` and check the result.

    Returns:
        The provenance record.

    Raises:
        ExportFailed: the exporter raised, or wrote an invalid file; the converter's own output is attached.
        ContractViolation: the file is not what was declared.
        SourceError: an output is called like an input.
    """
    feeds = _example(signature) if feeds is None else feeds
    named = signature.with_outputs(list(trace_run(source, signature, feeds)))
    twice = [name for name in named.outputs or () if name in named.inputs]
    if twice:  # converters stumble over it, each with another error, or rename the input
        raise SourceError(
            f"outputs: {source.label} has inputs and outputs of the same name ({', '.join(twice)}), and a file has "
            f"each name once; name all outputs anew: outputs={list(named.outputs or ())}, with these changed"
        )
    path = folder / "model.onnx"
    job = ExportJob(source, named, variant, feeds, path)
    info = catalog.find(variant.exporter or "none")
    started = time.perf_counter()
    chatter = None if source.recipe is None else export_apart(job, source.recipe)
    if chatter is None:
        chatter = _run_exporter(info, job)
    seconds = time.perf_counter() - started
    if not path.exists():
        raise ExportFailed.fail(f"{info.name} returned without writing a file", sections=sections(chatter))
    declare_dims(path, named)
    add_to(path, variant.options, domains)
    try:
        check_contract(
            path,
            named,
            opset=variant.opset,
            domains=_allowed(variant, domains),
            custom_ops=custom_op_libraries(variant.options),
        )
    except Finding as finding:
        result = finding.result
        raise type(finding)(
            replace(result, details=f"{result.message}{reasons(job.notes)}", sections=sections(chatter))
        ) from None
    return record(job, info, seconds, chatter)


def _allowed(variant: Variant, domains: tuple[str, ...]) -> tuple[str, ...]:
    """The declared domains, and the one of ONNX Runtime's fusions where they were asked for."""
    return (*domains, "com.microsoft") if variant.options.get("ort_fusions") else domains


def _example(signature: Signature) -> dict[str, np.ndarray]:
    """Inputs to trace with, where the user gave none."""
    maker = Maker(signature)
    return maker.feeds(maker.plain(signature.trace_sizes()))


def _run_exporter(info: catalog.ExporterInfo, job: ExportJob) -> Chatter:
    """Run the exporter quietly, and leave the model as it was.

    Returns:
        What the converter said.

    Raises:
        ExportFailed: it raised, or changed the model for good.
        OnnxPrepError: the exporter or the source is at fault, not the model.
    """
    exporter = _load_exporter(info)
    failure: Exception | None = None
    with captured() as chatter, untouched(job.source) as custody:
        try:
            exporter.export(job)
        except Exception as error:
            failure = error
    _told_of_changes(info, job, custody)
    warned = tracer_warnings(chatter)
    if warned:
        job.notes["tracer_warnings"] = warned
    if isinstance(failure, (OnnxPrepError, Finding)):
        raise failure
    if failure is not None:
        raise export_failed(info, job, failure, chatter) from failure
    return chatter


def _told_of_changes(info: catalog.ExporterInfo, job: ExportJob, custody: Custody) -> None:
    """Note what had to be put back; refuse to go on with a model that is no longer the user's."""
    if custody.restored:
        job.notes["restored"] = custody.restored
    if custody.lost:
        listed = "\n".join(f"  - {what}" for what in custody.lost)
        raise ExportFailed.fail(
            f"exporter {info.name!r} changed the model itself: {custody.lost[0]}",
            f"exporting with {info.name!r} changed {job.source.label} itself, and it could not be put back:\n{listed}\n"
            "The reference would no longer be your model, so nothing was compared with it. Let the factory return a "
            "new model at every call, and hand the exporter a copy (copy.deepcopy) where it writes to its input.",
        )


def trace_run(source: Source, signature: Signature, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Run the reference on the example inputs, which names its outputs and proves that the declaration fits.

    Raises:
        SourceError: the framework refuses them, or does not survive them.
    """
    source.check_tried_out(feeds, signature)
    state = source.state()
    try:
        return source.run(feeds, signature)
    except ReferenceRefused as error:
        shapes = ", ".join(f"{name} {array.dtype.name}{list(array.shape)}" for name, array in feeds.items())
        raise SourceError(
            f"{source.label} refuses its own example inputs ({shapes}): {error}\n"
            "Correct inputs= (value ranges: TensorSpec(low=, high=)) or the ranges in dims=; "
            "Dim(min, max, example=...) sets the size that is traced."
        ) from error
    finally:
        source.restore(state)


def _load_exporter(info: catalog.ExporterInfo) -> Any:
    try:
        return importlib.import_module(info.module)
    except ImportError as error:
        raise ExporterError(
            f"exporter {info.name!r} needs {error.name or error}, which is not installed; "
            "pip install 'pytest-onnxprep[all]' or the extra of your framework"
        ) from error
