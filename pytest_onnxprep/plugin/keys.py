"""Stash keys: state lives on ``config.stash`` and ``item.stash``, nowhere else.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pytest_onnxprep.plugin.engine import Engine
    from pytest_onnxprep.report.records import Record
    from pytest_onnxprep.spec.verdict import CheckResult

#: The engine of this process: store, workshop, loaded sources.
ENGINE: pytest.StashKey[Engine] = pytest.StashKey()
#: Records of finished checks, in order (on the controller under xdist).
RECORDS: pytest.StashKey[list[Record]] = pytest.StashKey()
#: What the check of an item found.
RESULT: pytest.StashKey[CheckResult] = pytest.StashKey()
#: Tests whose marks could not be read.
BROKEN: pytest.StashKey[int] = pytest.StashKey()
#: Why a report could not be written.
REPORT_ERROR: pytest.StashKey[str] = pytest.StashKey()
