"""What every test may use."""

from __future__ import annotations

import sys
from typing import Any

import pytest
from _pytest import pytester as pytester_module

pytest_plugins = ["pytester"]


@pytest.fixture
def pytester(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    """Pytest's own, but after a run in this process only the story's modules are forgotten.

    Frameworks do not survive a second import.
    """
    for name in ("PYTEST_XDIST_WORKER", "PYTEST_XDIST_WORKER_COUNT", "PYTEST_XDIST_TESTRUNUID"):
        monkeypatch.delenv(name, raising=False)  # a story is a run of its own
    folder = str(pytester.path)

    class OnlyOwnModules(pytester_module.SysModulesSnapshot):
        def __init__(self, preserve: Any = None) -> None:
            def keep(name: str) -> bool:
                return not str(getattr(sys.modules.get(name), "__file__", None) or "").startswith(folder)

            super().__init__(preserve=keep)

    monkeypatch.setattr(pytester_module, "SysModulesSnapshot", OnlyOwnModules)
    pytester._sys_modules_snapshot = OnlyOwnModules()
    return pytester
