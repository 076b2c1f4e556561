"""The key of an export in the cache: everything that can change the file, and nothing else."""

from __future__ import annotations

import hashlib
import json
import platform
import uuid
from collections.abc import Mapping
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np

from pytest_onnxprep.exporters import catalog
from pytest_onnxprep.exporters.registered import registered
from pytest_onnxprep.runtime.once import identity
from pytest_onnxprep.sources.base import Source
from pytest_onnxprep.sources.source_code import code_digest
from pytest_onnxprep.sources.state_digest import state_digest
from pytest_onnxprep.spec.signature import Signature
from pytest_onnxprep.spec.variant import Variant

#: Rooms whose code decides what a cached file looks like.
_OWN_ROOMS = ("exporters", "sources", "spec", "fuzz", "artifacts")


def export_key(
    source: Source,
    signature: Signature,
    variant: Variant,
    domains: tuple[str, ...],
    feeds: Mapping[str, np.ndarray] | None,
    artifact: Path | None,
) -> tuple[str, bool]:
    """Everything that can change the file, and whether all of it has a description that another process shares.

    What has none (an open file, a C object that cannot be pickled) makes the key this process's own: a miss.
    """
    values = state_digest({name: spec.values for name, spec in signature.inputs.items()})
    examples = {name: spec.example for name, spec in signature.inputs.items()}
    parts = [source.fingerprint(), state_digest(dict(variant.options)), state_digest(examples)]
    if signature.generate is not None:
        parts.append(code_digest([signature.generate]))
    if feeds is not None:
        parts.append(state_digest(dict(feeds)))
    translations = registered(variant.exporter or "none")
    if translations:
        parts.append(state_digest(translations))
    stable = all(part.stable for part in parts)
    made = [part.hexdigest for part in parts]
    packages = catalog.find(variant.exporter or "none").packages
    description = {
        "source": [source.framework, *made, values.hexdigest if values.stable else ""],
        "signature": signature.canonical(),
        "order": [list(signature.inputs), list(signature.outputs or {})],
        "variant": [variant.exporter, variant.opset],
        "domains": sorted(domains),
        "artifact": None if artifact is None else identity(artifact),
        "packages": {name: installed(name) for name in packages},
        "python": platform.python_version(),
        "machine": platform.machine(),
        "plugin": own_digest(),
        "salt": "" if stable else _process_salt(),
    }
    text = json.dumps(description, sort_keys=True)
    return hashlib.blake2b(text.encode(), digest_size=20).hexdigest(), stable


@cache
def installed(package: str) -> str:
    """The installed version of a distribution, or an empty string."""
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def provers() -> dict[str, str]:
    """What a file is held to its contract with: the checker, and ONNX Runtime in whichever build is here."""
    names = ("onnx", "onnxruntime", "onnxruntime-gpu", "onnxruntime-directml", "onnxruntime-openvino")
    return {name: installed(name) for name in names if installed(name)}


@cache
def own_digest() -> str:
    """The plugin's own code that shapes exports: editing it must not serve old files."""
    digest = hashlib.blake2b(digest_size=16)
    root = Path(__file__).resolve().parent.parent
    for room in _OWN_ROOMS:
        for path in sorted((root / room).glob("*.py")):
            digest.update(path.read_bytes())
    return digest.hexdigest()


@cache
def _process_salt() -> str:
    return uuid.uuid4().hex
