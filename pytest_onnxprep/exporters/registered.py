"""Translations that the user's code registered with a converter for the whole process: they shape its files, too."""

from __future__ import annotations

import sys
from contextlib import suppress
from typing import Any


def registered(exporter: str) -> dict[str, Any]:
    """Operator -> the user's own translation of it, for the key of an export.

    Nothing is imported: who registers something has imported the converter. The registries are private to their
    packages, so their absence is no error.
    """
    found: dict[str, Any] = {}
    with suppress(Exception):
        if exporter == "torchscript":
            found = _symbolics()
        elif exporter == "jax2onnx":
            found = _plugins()
        elif exporter == "tf2onnx":
            found = _handlers()
    return found


def _symbolics() -> dict[str, Any]:
    """What ``torch.onnx.register_custom_op_symbolic`` was given."""
    module: Any = sys.modules.get("torch.onnx._internal.torchscript_exporter.registration")
    if module is None:
        return {}
    groups = module.registry._registry
    overrides = {name: groups[name]._functions._overrides for name in sorted(groups)}
    return {name: dict(functions) for name, functions in overrides.items() if functions}


def _plugins() -> dict[str, Any]:
    """What jax2onnx's ``register_primitive`` and ``onnx_function`` were given."""
    module: Any = sys.modules.get("jax2onnx.plugins.plugin_system")
    if module is None:
        return {}
    found = {}
    for name, plugin in sorted(module.PLUGIN_REGISTRY.items()):
        if not type(plugin).__module__.startswith("jax2onnx."):
            found[name] = type(plugin)
        elif isinstance(plugin, module.FunctionPlugin) and not plugin.target.__module__.startswith("jax2onnx."):
            found[name] = plugin.target
    return found


def _handlers() -> dict[str, Any]:
    """What tf2onnx's ``tf_op`` was given."""
    module: Any = sys.modules.get("tf2onnx.handler")
    if module is None:
        return {}
    found = {}
    for domain, versions in module.tf_op.get_opsets().items():
        for version, handlers in enumerate(versions):
            for operator, (function, *_) in handlers.items():
                if not getattr(function, "__module__", "tf2onnx").startswith("tf2onnx"):
                    found[f"{domain}:{version}:{operator}"] = function
    return found
