"""Where the figures come from: versions, CPU and its limits. Imports none of the packages it names."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pytest_onnxprep.machine import governor, quota

#: Distributions worth naming, each with those that provide the same import under another name.
PACKAGES: dict[str, tuple[str, ...]] = {
    "torch": (),
    "tensorflow": ("tensorflow-cpu", "tf-nightly"),
    "keras": (),
    "tf2onnx": (),
    "transformers": (),
    "ai-edge-litert": (),
    "jax": (),
    "flax": (),
    "equinox": (),
    "jax2onnx": (),
    "onnx": ("onnx-weekly",),
    "onnxruntime": ("onnxruntime-gpu", "onnxruntime-openvino", "onnxruntime-directml", "ort-nightly"),
    "onnxruntime-extensions": (),
    "onnxscript": (),
    "numpy": (),
    "hypothesis": (),
    "pytest": (),
    "pytest-benchmark": (),
    "pytest-onnxprep": (),
}

#: CPU features that decide which ONNX Runtime kernels run (x86, then Arm).
CPU_FLAGS = (
    *("avx2", "fma", "avx_vnni", "avx512f", "avx512_vnni", "avx512_bf16", "avx512_fp16", "amx_tile", "amx_int8"),
    *("amx_bf16", "asimd", "asimdhp", "asimddp", "i8mm", "bf16", "sve", "sve2", "sme"),
)

_HEADER = ("onnxruntime", "onnx", "torch", "tensorflow", "jax", "transformers")
_VERSION = re.compile(r"^Version:\s*(\S+)", re.MULTILINE)
_MARKETING = re.compile(r"\((?:R|TM|r|tm)\)|\bCPU\b|\bProcessor\b|@.*$")


def environment() -> dict[str, Any]:
    """Describe this process's Python, packages and CPU (1 to 2 ms under pytest, which has read the metadata)."""
    return {"python": platform.python_version(), "platform": _platform(), "packages": _packages(), "cpu": cpu()}


def header_line(env: Mapping[str, Any]) -> str:
    """One line for pytest's header, such as ``onnxprep: 0.1.0, onnxruntime 1.32.0, onnx 1.23.2; AMD EPYC x2``."""
    packages = env.get("packages") or {}
    own = packages.get("pytest-onnxprep")
    parts = [own] if own else []
    parts += [f"{name} {packages[name].partition('+')[0]}" for name in _HEADER if name in packages]
    described = env.get("cpu") or {}
    model = " ".join(_MARKETING.sub(" ", described.get("model") or "unknown machine").split())
    text = "; ".join(filter(None, (", ".join(parts), f"{model} x{described.get('cores_usable') or '?'}")))
    quota = described.get("quota")
    return f"onnxprep: {text}" + ("" if quota is None else f" (quota {quota:g} cores)")


def cpu(root: Path = Path("/")) -> dict[str, Any]:
    """Describe the CPU and what of it this process may use.

    Args:
        root: where ``proc`` and ``sys`` are found (tests bring their own).
    """
    logical = os.cpu_count() or 1
    affinity = getattr(os, "sched_getaffinity", None)  # Linux only
    model, flags = _cpuinfo(root / "proc/cpuinfo")
    return {
        "model": model or platform.machine() or "unknown",
        "cores_logical": logical,
        "cores_usable": len(affinity(0)) if affinity else logical,
        "quota": quota(root),
        "governor": governor(root),
        "flags": [flag for flag in CPU_FLAGS if flag in flags],
    }


def _packages() -> dict[str, str]:
    found: dict[str, str] = {}
    for name, aliases in PACKAGES.items():
        version = next(filter(None, map(_version, (name, *aliases))), None)
        if version:
            found[name] = version
    return found


def _version(name: str) -> str | None:
    # importlib.metadata.version() parses the whole METADATA, readme included: 6 ms for our list, against 1 ms.
    try:
        distribution = importlib.metadata.distribution(name)
    except importlib.metadata.PackageNotFoundError:
        return None
    match = _VERSION.search(distribution.read_text("METADATA") or distribution.read_text("PKG-INFO") or "")
    return match[1] if match else None


def _platform() -> str:
    if not hasattr(os, "confstr"):
        return platform.platform()
    # platform.platform() reads the interpreter's whole binary to learn the libc: 4 ms.
    system = os.uname()
    text = f"{system.sysname}-{system.release}-{system.machine}"
    try:
        libc = os.confstr("CS_GNU_LIBC_VERSION")
    except (ValueError, OSError):
        libc = None
    return f"{text}-{libc.replace(' ', '')}" if libc else text


def _cpuinfo(path: Path) -> tuple[str, frozenset[str]]:
    """Model and flags of the first CPU; the rest of the file (slow with 200 cores) only where it names the board."""
    fields: dict[str, str] = {}
    try:
        with path.open(encoding="utf-8", errors="replace") as lines:
            _read_fields(lines, fields)
            if "model name" not in fields:  # Arm: "Model" or "Hardware" follow the last core
                for _ in range(4096):
                    if not _read_fields(lines, fields):
                        break
    except OSError:
        pass
    model = fields.get("model name") or fields.get("Model") or fields.get("Hardware") or fields.get("cpu model") or ""
    return model, frozenset((fields.get("flags") or fields.get("Features") or "").split())


def _read_fields(lines: Iterable[str], fields: dict[str, str]) -> bool:
    """Read one block of ``key : value`` lines; return whether there was any."""
    found = False
    for line in lines:
        key, colon, value = line.partition(":")
        if not colon:
            break
        found = True
        fields.setdefault(key.strip(), value.strip())
    return found
