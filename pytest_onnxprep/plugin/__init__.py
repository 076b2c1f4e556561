"""The pytest plugin: hooks only; everything they call is imported when it is first needed.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING, Any

import pytest

from pytest_onnxprep.plugin.fixtures import _onnxprep_cell as _onnxprep_cell
from pytest_onnxprep.plugin.fixtures import onnx_exporter as onnx_exporter
from pytest_onnxprep.plugin.fixtures import onnx_model as onnx_model
from pytest_onnxprep.plugin.options import ITEM_MARKERS, MARKERS, MARKS, add_options, check_options, option

if TYPE_CHECKING:
    from _pytest.terminal import TerminalReporter


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add ``--onnxprep-*`` options and ini keys."""
    add_options(parser)


def pytest_configure(config: pytest.Config) -> None:
    """Register the marks and check the options."""
    for line in (*MARKERS, *ITEM_MARKERS):
        config.addinivalue_line("markers", line)
    check_options(config)


def pytest_report_header(config: pytest.Config) -> str | None:
    """One line with the versions that decide what a file looks like."""
    if config.get_verbosity() < 0 or config.option.collectonly:
        return None
    from pytest_onnxprep.report.environment import environment, header_line

    return header_line(environment())


@pytest.hookimpl(wrapper=True)
def pytest_pycollect_makeitem(collector: Any, name: str, obj: object) -> Generator[None, Any, Any]:
    """Turn marked tests into check items; a mark that cannot be read becomes an error of its own test only."""
    if not has_our_marks(collector, obj) or not collector.istestfunction(obj, name):
        return (yield)
    from pytest_onnxprep.plugin import items

    items.request_model_fixture(collector, obj)
    try:
        made = yield
    except items.BrokenMark as error:
        return [items.BrokenTest.from_parent(collector, name=name, message=str(error))]
    return items.convert(made)


def has_our_marks(collector: Any, obj: object) -> bool:
    """Cheap enough for every name of every module: does the object, its class or its module carry a mark of ours?"""
    if not callable(obj) or isinstance(obj, type):
        return False
    marks = getattr(obj, "pytestmark", ())
    return any(mark.name in MARKS for mark in marks) or any(mark.name in MARKS for mark in collector.iter_markers())


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """A ``TensorSpec`` or ``Dim`` that cannot be read stops its file's import: say where and why, as a mark does."""
    report = yield
    call = getattr(report, "call", None)
    if report.failed and call is not None and call.excinfo is not None:
        from pytest_onnxprep.plugin.items import import_problem

        report.longrepr = import_problem(call.excinfo.value) or report.longrepr
    return report


@pytest.hookimpl(trylast=True)
def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """One item per variant and check."""
    if has_our_marks(metafunc.definition, metafunc.function):
        from pytest_onnxprep.plugin.items import generate

        generate(metafunc)


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop(session: pytest.Session) -> None:
    """Let the other tests go on when every collection error is a mark of ours that could not be read."""
    from pytest_onnxprep.plugin.keys import BROKEN

    broken = session.config.stash.get(BROKEN, 0)
    if broken and broken == session.testsfailed:
        session.config.option.continue_on_collection_errors = True


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> object | None:
    """Run the check in place of the body; the body itself runs after the check ``export``."""
    from pytest_onnxprep.plugin.items import CheckItem

    if not isinstance(pyfuncitem, CheckItem):
        return None
    from pytest_onnxprep.plugin.run import run_item

    return run_item(pyfuncitem)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Attach the record of a check to its report."""
    report = yield
    if hasattr(item, "cell"):
        from pytest_onnxprep.plugin.outcome import attach_record

        attach_record(item, call, report)
    return report


@pytest.hookimpl(tryfirst=True)
def pytest_report_teststatus(report: Any) -> tuple[str, str, Any] | None:
    """Show ``inconclusive`` and ``error`` as what they are."""
    record = getattr(report, "onnxprep", None)
    if record is None:
        return None
    from pytest_onnxprep.plugin.outcome import status

    return status(report, record)


def pytest_sessionstart(session: pytest.Session) -> None:
    """Start an empty list of records."""
    from pytest_onnxprep.plugin.keys import RECORDS

    session.config.stash[RECORDS] = []
    session.config.pluginmanager.register(_Gatherer(session.config), "onnxprep-gatherer")


class _Gatherer:
    """Holds the config that ``pytest_runtest_logreport`` is not given."""

    def __init__(self, config: pytest.Config) -> None:
        self.config = config

    def pytest_runtest_logreport(self, report: Any) -> None:
        """Keep the record of a finished check."""
        record = getattr(report, "onnxprep", None)
        if record is not None:
            from pytest_onnxprep.plugin.keys import RECORDS

            self.config.stash[RECORDS].append(record)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Write the reports that were asked for."""
    wanted = option(session.config, "json") or option(session.config, "markdown")
    if wanted and not hasattr(session.config, "workerinput"):
        from pytest_onnxprep.plugin.terminal import write_reports

        if not write_reports(session.config):
            session.exitstatus = pytest.ExitCode.USAGE_ERROR


def pytest_terminal_summary(terminalreporter: TerminalReporter, config: pytest.Config) -> None:
    """Print the table, when there is anything to say."""
    from pytest_onnxprep.plugin.keys import RECORDS, REPORT_ERROR

    if config.stash.get(RECORDS, None) or REPORT_ERROR in config.stash:
        from pytest_onnxprep.plugin.terminal import write_summary

        write_summary(terminalreporter, config)


@pytest.hookimpl(optionalhook=True)
def pytest_benchmark_update_json(config: pytest.Config, output_json: dict[str, Any]) -> None:
    """Put every record into pytest-benchmark's JSON, those without a timing too."""
    from pytest_onnxprep.plugin.keys import RECORDS

    output_json["onnxprep"] = {"schema": "onnxprep-report/1", "results": config.stash.get(RECORDS, [])}


@pytest.hookimpl(optionalhook=True)
def pytest_benchmark_update_machine_info(machine_info: dict[str, Any]) -> None:
    """Versions and CPU limits, so that ``--benchmark-compare`` warns when they differ."""
    from pytest_onnxprep.report.environment import environment

    found = environment()
    machine_info["onnxprep"] = {"packages": found["packages"], "cpu": found["cpu"]}
