"""From marks to items: one per variant and check."""

from __future__ import annotations

import functools
import inspect
import os
import traceback
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple, cast

import pytest

from pytest_onnxprep.errors import ExporterError, SpecError
from pytest_onnxprep.exporters import catalog
from pytest_onnxprep.marks import CHECKS
from pytest_onnxprep.plugin import expected_failures
from pytest_onnxprep.plugin.infer import infer_framework
from pytest_onnxprep.plugin.keys import BROKEN
from pytest_onnxprep.plugin.option_checks import MADE_HERE, asked_for, mark_of
from pytest_onnxprep.spec.comparison import wrong_rival
from pytest_onnxprep.spec.export_request import ExportRequest
from pytest_onnxprep.spec.variant import Variant

CELL = "_onnxprep_cell"


class Cell(NamedTuple):
    """One item's worth: a variant and a check."""

    check: str
    variant: Variant
    export: ExportRequest
    request: Any
    label: str

    @property
    def id(self) -> str:
        """The item's part of the node id: ``dynamo-opset20-parity``."""
        return f"{self.variant.id}-{self.label}"


class BrokenMark(Exception):
    """A mark that cannot be read; the text is ready to be shown."""


class BrokenTest(pytest.Collector):
    """Stands in for a test whose marks are wrong: reported as a collection error, without a traceback."""

    def __init__(self, *, message: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.message = message

    def collect(self) -> Iterable[pytest.Item]:
        """Fail the collection of this test alone."""
        self.config.stash[BROKEN] = self.config.stash.get(BROKEN, 0) + 1
        raise self.CollectError(self.message)


class CheckItem(pytest.Function):
    """A test function that runs one check of one variant.

    It keeps only its own check's mark, whether that was put on the function, its class or its module, so that
    ``-m parity`` and ``-m "not latency_budget"`` select what they say.
    """

    cell: Cell
    clock: Any = None

    def iter_markers_with_node(self, name: str | None = None) -> Iterator[tuple[Any, pytest.Mark]]:
        """See `pytest.Item.iter_markers_with_node`; the other checks' marks are left out."""
        others = _other_marks(self.cell.check)
        for node, mark in super().iter_markers_with_node(name):
            if mark.name not in others and (mark.name != "xfail" or expected_failures.concerns(mark, self.cell)):
                yield node, mark

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], *args: Any, **kwargs: Any) -> Any:
        """Findings and usage errors speak for themselves; a traceback through the plugin would hide them."""
        from pytest_onnxprep.errors import Finding, OnnxPrepError

        if isinstance(excinfo.value, (Finding, OnnxPrepError, SpecError)):
            return str(excinfo.value)
        return super().repr_failure(excinfo, *args, **kwargs)


def generate(metafunc: pytest.Metafunc) -> None:
    """Parametrise a marked test over its cells.

    Raises:
        BrokenMark: a mark is malformed.
    """
    cells = list(_cells(metafunc))
    if not cells:
        return
    metafunc.fixturenames.append(CELL)
    metafunc.parametrize(CELL, cells, ids=[cell.id for cell in cells], indirect=True)


def convert(made: Any) -> Any:
    """Replace the plain functions pytest made by check items."""
    if not isinstance(made, list):
        return made
    return [_check_item(item) if _is_cell(item) else item for item in made]


def import_problem(error: BaseException) -> str:
    """``tests/test_net.py:12: unknown recipe ...`` for a `SpecError` raised while a file is imported; else empty."""
    if not isinstance(error, SpecError):
        return ""
    package = str(Path(__file__).resolve().parent.parent)
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if not frame.filename.startswith((package, "<"))]
    return f"{os.path.relpath(own[-1].filename)}:{own[-1].lineno}: {error}" if own else str(error)


def request_model_fixture(collector: Any, obj: Any) -> None:
    """A test whose ``onnx_export`` names no source takes the fixture ``model``, parametrised or not."""
    marks = [*getattr(obj, "pytestmark", ()), *collector.iter_markers("onnx_export")]
    exports = [mark for mark in marks if mark.name == "onnx_export"]
    if not exports or any(mark.args or mark.kwargs.get("source") is not None for mark in exports):
        return
    function = getattr(obj, "__func__", obj)
    if not any(mark.name == "usefixtures" and "model" in mark.args for mark in marks):
        pytest.mark.usefixtures("model")(function)


@functools.cache
def _other_marks(check: str) -> frozenset[str]:
    return frozenset(row.mark for name, row in CHECKS.items() if name != check)


def _is_cell(item: Any) -> bool:
    callspec = getattr(item, "callspec", None)
    return callspec is not None and CELL in callspec.params


def _check_item(function: pytest.Function) -> CheckItem:
    # pytest has no hook for the class of an item, and making another of the same parts takes as long as the first.
    function.__class__ = CheckItem
    item = cast(CheckItem, function)
    item.cell = cast(Cell, function.callspec.params[CELL])
    others = _other_marks(item.cell.check)
    item.own_markers = [mark for mark in item.own_markers if mark.name not in others]
    # The body's model is handed over when the export is known to be good; other checks have no body.
    item.fixturenames = [name for name in item.fixturenames if name != "onnx_model"]
    if item.cell.check == "latency":
        _add_benchmark(item)
    own_mark = mark_of(item.cell.check)
    if own_mark and item.get_closest_marker(own_mark) is None:
        item.add_marker(own_mark)
    return item


def _add_benchmark(item: CheckItem) -> None:
    """Latency items alone carry ``benchmark``, with a timer that replays our samples."""
    if not item.config.pluginmanager.hasplugin("benchmark"):
        return
    from pytest_onnxprep.runtime.benchmark_sink import ReplayClock

    item.clock = ReplayClock()
    # An item that is skipped or has no valid export leaves the fixture unused; its own report says why.
    item.add_marker(pytest.mark.filterwarnings("ignore:Benchmark fixture was not used at all"))
    if "benchmark" not in item.fixturenames:
        item.fixturenames = [*item.fixturenames, "benchmark"]
    if item.get_closest_marker("benchmark") is None:
        item.add_marker(pytest.mark.benchmark(timer=item.clock, group="onnxprep latency"))
    else:
        item.add_marker(pytest.mark.benchmark(timer=item.clock))


def _cells(metafunc: pytest.Metafunc) -> Iterator[Cell]:
    requests = _read_marks(metafunc)
    export = requests.get("onnx_export")
    if export is None:
        own = {mark.name for mark in getattr(metafunc.function, "pytestmark", ())}
        if not own & set(requests):
            return  # a budget of the whole module or class says nothing to its plain tests
        raise BrokenMark(_located(metafunc, next(iter(requests)), "needs @onnx_export on the same test"))
    try:
        variants = list(_variants(metafunc, export))
    except (ExporterError, SpecError) as error:
        raise BrokenMark(_located(metafunc, "onnx_export", str(error))) from None
    try:
        more = list(asked_for(metafunc.config, metafunc.definition.path.parent, requests))
    except SpecError as error:
        mark = "fits" if "fits" in requests and not export.targets else "onnx_export"
        raise BrokenMark(_located(metafunc, mark, str(error))) from None
    latency = requests.get("latency_budget")
    if latency is not None and latency.comparisons:
        problem = wrong_rival(latency.comparisons, [variant.id for variant in variants])
        if problem:
            raise BrokenMark(_located(metafunc, "latency_budget", problem))
        requests["latency_budget"] = replace(latency, variants=tuple(variants))
    for variant in variants:
        declared = _with_domains(export, variant, requests)
        for name, check in CHECKS.items():
            if check.mark in requests and name not in MADE_HERE:
                yield from _check_cells(name, variant, declared, requests[check.mark])
        for name, label, request in more:
            yield Cell(name, variant, declared, request, label)


def _with_domains(export: ExportRequest, variant: Variant, requests: Mapping[str, Any]) -> ExportRequest:
    """Whoever accepts com.microsoft's operators in ``operators`` has declared them.

    A file made elsewhere may have any domain as long as nothing is declared for it: that stays so.
    """
    if "operators" not in requests or (variant.exporter == "none" and not export.domains):
        return export
    return replace(export, domains=(*export.domains, *requests["operators"].declared_domains()))


def _check_cells(check: str, variant: Variant, export: ExportRequest, request: Any) -> Iterator[Cell]:
    if len(getattr(request, "at", ())) > 1:
        for sizes in request.at:
            label = "-".join([check, *(f"{name}{size}" for name, size in sizes.items())])
            yield Cell(check, variant, export, replace(request, at=(sizes,)), label)
    else:
        yield Cell(check, variant, export, request, check)


def _read_marks(metafunc: pytest.Metafunc) -> dict[str, Any]:
    """Parse every mark of ours; the nearest of each kind wins, ``onnx_export`` is merged from module to function."""
    requests: dict[str, Any] = {}
    for name, reader in ((check.mark, check.read) for check in CHECKS.values()):
        marks = list(metafunc.definition.iter_markers(name))
        if not marks:
            continue
        args, kwargs = _merged(marks) if name == "onnx_export" else (marks[0].args, marks[0].kwargs)
        try:
            requests[name] = reader(*args, **kwargs)
        except SpecError as error:
            raise BrokenMark(_located(metafunc, name, str(error))) from None
        except TypeError as error:
            raise BrokenMark(_located(metafunc, name, f"{_plain(error)}; accepted: {_accepted(reader)}")) from None
    _check_dims(metafunc, requests)
    try:
        expected_failures.read(metafunc.definition.iter_markers("xfail"))
    except SpecError as error:
        raise BrokenMark(_located(metafunc, "xfail", str(error))) from None
    return requests


def _merged(marks: list[pytest.Mark]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Nearest first: what the test says replaces what its class or module says, argument by argument."""
    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] = {}
    for mark in reversed(marks):
        args = mark.args or args
        kwargs |= mark.kwargs
    if args and "source" in kwargs:
        kwargs.pop("source") if marks[0].args else None
        args = () if "source" in kwargs else args
    return args, kwargs


def _check_dims(metafunc: pytest.Metafunc, requests: Mapping[str, Any]) -> None:
    """A budget that names an unknown dim fails here when the dims are written down, else when the model is loaded."""
    export = requests.get("onnx_export")
    known = None if export is None else export.known_dims()
    if export is None or known is None:
        return
    for mark, request in requests.items():
        problem = next(filter(None, (_wrong_sizes(export, known, sizes) for sizes in getattr(request, "at", ()))), "")
        batch = getattr(request, "batch", None)
        if batch is not None and batch not in known:
            problem = _unknown_dim("batch=", batch, known)
        if problem:
            raise BrokenMark(_located(metafunc, mark, problem))


def _wrong_sizes(export: ExportRequest, known: Iterable[str], sizes: Mapping[str, int]) -> str:
    from pytest_onnxprep.spec.dims import DEFAULT_DIM

    for name, size in sizes.items():
        dim = export.dims.get(name, DEFAULT_DIM)
        if name not in known:
            return _unknown_dim("at=", name, known)
        if size not in dim:
            return f"at=: {name}={size} is outside its declared range {dim}"
    return ""


def _unknown_dim(argument: str, name: str, known: Iterable[str]) -> str:
    from pytest_onnxprep.errors import closest

    return f"{argument} names an unknown dim {name!r}{closest(name, known)} Dims: {', '.join(sorted(known)) or 'none'}."


def _variants(metafunc: pytest.Metafunc, export: ExportRequest) -> Iterator[Variant]:
    framework = _framework(metafunc, export)
    seen = set()
    for exporter in export.exporters:
        for opset in export.opsets:
            for index, options in enumerate(export.options):
                name, asked = _settle(export, framework, exporter, opset)
                label = f"options{index}" if len(export.options) > 1 else ""
                variant = Variant(name, asked, options, label, asked=(exporter, opset))
                if variant.id not in seen:
                    seen.add(variant.id)
                    yield variant


def _settle(
    export: ExportRequest, framework: str | None, exporter: str | None, opset: int | None
) -> tuple[str | None, int | None]:
    """Exporter and opset as far as they are known before the model is built."""
    if export.artifact is not None or framework == "onnx":
        if exporter not in (None, "none"):
            raise ExporterError(
                f"a file made elsewhere is not exported: exporter={exporter!r} must be 'none' or left out"
            )
        return "none", opset
    if exporter is None and framework is not None:
        exporter = catalog.best_for(framework, opset)
    if exporter is None:
        return None, opset
    info = catalog.find(exporter)
    if exporter == "none" and framework is not None:
        raise ExporterError("exporter='none' needs artifact=PATH or an .onnx source: there is no file to take")
    catalog.check_opset(info, opset)
    return exporter, opset or info.default_opset


def _framework(metafunc: pytest.Metafunc, export: ExportRequest) -> str | None:
    source = export.source
    if source is None:
        definitions = metafunc._arg2fixturedefs.get("model")
        source = definitions[-1].func if definitions else None
    if isinstance(source, str):
        beside = metafunc.definition.path.parent / source
        source = beside if os.path.exists(beside) else Path(source)
    return infer_framework(source)


def _located(metafunc: pytest.Metafunc, mark: str, problem: str) -> str:
    """``tests/test_net.py:12: @parity: atol must be ...``, with the line of that very decorator where it is found."""
    path = metafunc.definition.path
    try:
        shown = path.relative_to(metafunc.config.rootpath)
    except ValueError:
        shown = path
    return f"{shown}:{_line_of(metafunc.function, mark)}: @{mark}: {problem}"


def _line_of(function: Any, mark: str) -> int:
    try:
        lines, first = inspect.getsourcelines(function)
    except (OSError, TypeError):
        return int(getattr(getattr(function, "__code__", None), "co_firstlineno", 0))
    for offset, line in enumerate(lines):
        if line.lstrip().startswith("@") and mark in line:
            return first + offset
        if line.lstrip().startswith(("def ", "async def ")):
            break
    return first


def _plain(error: TypeError) -> str:
    return str(error).partition("() ")[2] or str(error)


def _accepted(reader: Any) -> str:
    return ", ".join(inspect.signature(reader).parameters)
