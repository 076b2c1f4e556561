"""Models of more than 2 GB run only when asked for: ``pytest suites/large -m large``."""

import pytest


def pytest_configure(config: pytest.Config) -> None:
    """Declare the mark."""
    config.addinivalue_line("markers", "large: a model of more than 2 GB; deselected unless -m names it")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what nobody asked for."""
    if "large" in config.option.markexpr:
        return
    left_out = [item for item in items if item.get_closest_marker("large")]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if not item.get_closest_marker("large")]
