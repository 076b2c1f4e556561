"""The end of a run: the table, and the report files."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pytest_onnxprep.plugin.keys import RECORDS, REPORT_ERROR
from pytest_onnxprep.plugin.options import option

if TYPE_CHECKING:
    from _pytest.terminal import TerminalReporter


def write_summary(reporter: TerminalReporter, config: pytest.Config) -> None:
    """Print a row per variant, then what failed or could not be told."""
    from pytest_onnxprep.report.assessment import assessment_lines
    from pytest_onnxprep.report.baselines import left_out_lines
    from pytest_onnxprep.report.curves import curves, lines
    from pytest_onnxprep.report.profile_table import TOP, profile_lines
    from pytest_onnxprep.report.records import rows
    from pytest_onnxprep.report.terminal import table

    records = config.stash[RECORDS]
    width = reporter._tw.fullwidth
    top = 5 * TOP if config.get_verbosity() > 0 else TOP
    reporter.section("onnxprep", sep="=")
    shown = [*table(rows(records), width), *assessment_lines(records, width), *profile_lines(records, width, top=top)]
    shown += left_out_lines(records)
    for text, colour in shown:
        reporter.write_line(text, **({colour: True} if colour else {}))
    for curve in curves(records):
        for line in ("", *lines(curve)):
            reporter.write_line(line)
    problem = config.stash.get(REPORT_ERROR, "")
    if problem:
        reporter.write_line(f"ERROR: {problem}", red=True, bold=True)
        return
    for name in ("json", "markdown"):
        path = option(config, name)
        if path:
            reporter.write_line(f"{name} report: {path}")


def write_reports(config: pytest.Config) -> bool:
    """Write ``--onnxprep-json`` and ``--onnxprep-markdown``; they are written even when nothing was checked.

    Returns:
        Whether every file could be written. Where not, the summary says why: raising here would take the failures of
        the whole run off the screen.
    """
    from pytest_onnxprep.errors import OnnxPrepError

    records = config.stash[RECORDS]
    wanted = {name: option(config, name) for name in ("json", "markdown")}
    from pytest_onnxprep.report.environment import environment
    from pytest_onnxprep.report.json_report import write_json
    from pytest_onnxprep.report.markdown import write_markdown

    found = environment()
    try:
        if wanted["json"]:
            write_json(config.invocation_params.dir / wanted["json"], records, found)
        if wanted["markdown"]:
            write_markdown(config.invocation_params.dir / wanted["markdown"], records, found)
    except OnnxPrepError as error:
        config.stash[REPORT_ERROR] = str(error)
        return False
    return True
