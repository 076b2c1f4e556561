"""Netron, where it is installed."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

from pytest_onnxprep.errors import OnnxPrepError


def show(path: Path, *, browse: bool, port: int | None) -> str:
    """Serve a file with Netron, from a thread of this process; see `OnnxModel.show`."""
    try:
        netron: Any = importlib.import_module("netron")
    except ImportError as error:
        raise OnnxPrepError(
            "onnx_model.show() needs Netron, which is not installed: pip install netron. "
            "onnx_model.describe() needs nothing."
        ) from error
    address = netron.start(str(path), address=port, browse=browse)
    host, number = address
    return f"http://{host}:{number}"
