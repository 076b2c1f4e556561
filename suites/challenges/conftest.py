"""Suites of this folder import onnxruntime-extensions, some of them after TensorFlow: it has to be loaded with care."""

from __future__ import annotations

import importlib.util

from pytest_onnxprep.runtime.custom_ops import load_extensions

if importlib.util.find_spec("onnxruntime_extensions") is not None:
    load_extensions()
