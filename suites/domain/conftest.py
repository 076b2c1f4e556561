"""Suites of packages that fight with the main environment's: `make suites-domain` makes one for them and runs them.

Anywhere else there is nothing to collect in this folder.
"""

from __future__ import annotations

import importlib.util
import os
import re
import tempfile
from pathlib import Path
from typing import Any

#: Each suite and the package whose models it tests.
_NEEDS = {"test_yolo.py": "ultralytics", "test_mediapipe.py": "mediapipe", "test_pretrained.py": "silero_vad"}

collect_ignore = [file for file, package in _NEEDS.items() if importlib.util.find_spec(package) is None]


def pytest_report_header() -> str:
    """Say why the folder is empty."""
    return "suites/domain: not collected here, run `make suites-domain`" if collect_ignore else ""


# Ultralytics asks the network what it may do, and installs what it misses, unless it is told not to.
os.environ["YOLO_OFFLINE"] = "true"
os.environ["YOLO_AUTOINSTALL"] = "false"
os.environ.setdefault("YOLO_CONFIG_DIR", os.path.join(tempfile.gettempdir(), "onnxprep-ultralytics"))
os.makedirs(os.environ["YOLO_CONFIG_DIR"], exist_ok=True)


def _torchvision_without_kernels() -> None:
    """Let torchvision be imported where its compiled operators cannot be.

    Its wheel is built for CUDA: beside a CPU build of torch its library does not load, and its own registrations then
    fail because nobody defined the operators. The models here use none of them, so that their names are enough.
    """
    import torch

    try:
        import torchvision  # noqa: F401
    except RuntimeError:
        registrations = Path(importlib.util.find_spec("torchvision").origin).with_name("_meta_registrations.py")
        names = re.findall(r"register_(?:meta|fake)\(\"(?:torchvision::)?(\w+)\"", registrations.read_text("utf-8"))
        _DEFINED.append(torch.library.Library("torchvision", "DEF"))
        for name in dict.fromkeys(names):
            _DEFINED[0].define(f"{name}(Tensor x) -> Tensor")


_DEFINED: list[Any] = []  # a library's definitions go when it does

if importlib.util.find_spec("ultralytics") is not None:
    _torchvision_without_kernels()
