"""What every test may use."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import Any

import pytest
from _pytest import pytester as pytester_module

pytest_plugins = ["pytester"]

for _name in ("PYTEST_XDIST_WORKER", "PYTEST_XDIST_WORKER_COUNT", "PYTEST_XDIST_TESTRUNUID", "CI", "BUILD_NUMBER"):
    os.environ.pop(_name, None)  # a story is a run of its own, also under xdist and in CI


@pytest.fixture
def pytester(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    """Pytest's own, but after a run in this process only the story's modules are forgotten.

    Frameworks do not survive a second import.
    """
    folder = str(pytester.path)

    class OnlyOwnModules(pytester_module.SysModulesSnapshot):
        def __init__(self, preserve: Any = None) -> None:
            def keep(name: str) -> bool:
                return not str(getattr(sys.modules.get(name), "__file__", None) or "").startswith(folder)

            super().__init__(preserve=keep)

    monkeypatch.setattr(pytester_module, "SysModulesSnapshot", OnlyOwnModules)
    pytester._sys_modules_snapshot = OnlyOwnModules()
    return pytester


@pytest.fixture
def count_calls() -> Callable[[Callable[[], object]], int]:
    """How many Python functions a piece of work calls: the same on a busy machine, as seconds are not."""

    def count(work: Callable[[], object]) -> int:
        calls = 0

        def profile(frame: Any, event: str, argument: Any) -> None:
            nonlocal calls
            calls += event == "call"

        sys.setprofile(profile)
        try:
            work()
        finally:
            sys.setprofile(None)
        return calls

    return count
