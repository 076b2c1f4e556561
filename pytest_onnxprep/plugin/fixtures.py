"""``onnx_model`` and ``onnx_exporter``.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    from pytest_onnxprep.artifacts.onnx_model import OnnxModel


@pytest.fixture
def _onnxprep_cell(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.fixture
def onnx_model(request: pytest.FixtureRequest) -> OnnxModel:
    """The exported `OnnxModel` of a test marked ``@onnx_export``: path, proto, session, run(), reference(), ..."""
    from pytest_onnxprep.plugin.items import CheckItem

    if not isinstance(request.node, CheckItem):
        pytest.fail(
            f"fixture 'onnx_model' needs @onnx_export on {request.node.name}; "
            "in a plain test use the fixture 'onnx_exporter' instead",
            pytrace=False,
        )
    from pytest_onnxprep.plugin.run import export_of

    return export_of(request.node)


@pytest.fixture
def onnx_exporter(request: pytest.FixtureRequest) -> Callable[..., OnnxModel]:
    """``onnx_exporter(source, inputs=..., ...) -> OnnxModel``: the arguments of ``@onnx_export``, for plain tests."""
    from pytest_onnxprep.plugin.engine import engine_of

    return engine_of(request.config).exporter(request.path.parent)
