"""Stash keys: state lives on ``config.stash`` and ``item.stash``, nowhere else.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from pytest_onnxprep.plugin.engine import Engine
    from pytest_onnxprep.spec.verdict import CheckResult

#: The engine of this process: store, workshop, loaded sources.
ENGINE = pytest.StashKey["Engine"]()
#: Records of finished checks, in order (on the controller under xdist).
RECORDS = pytest.StashKey[list[dict[str, Any]]]()
#: What the check of an item found.
RESULT = pytest.StashKey["CheckResult"]()
#: Tests whose marks could not be read.
BROKEN = pytest.StashKey[int]()
