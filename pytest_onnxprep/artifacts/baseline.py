"""Baselines: the ONNX files of a known good revision, kept in a folder that CI carries from run to run.

A baseline is the file itself, not a figure: it is timed beside the new file, on the machine the question is asked on.

    <folder>/test_net-torchscript-opset17-1f0c2a9b.json    one per test and variant: signature, environment, figures
    <folder>/models/9a41.../model.onnx                     files by content, external data beside them

A record is replaced in one step and points to files that are never changed, so a reader, or a run that is cut off,
finds the old baseline or the new one and nothing between.
"""

from __future__ import annotations

import contextlib
import datetime
import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock

from pytest_onnxprep.artifacts.entry_files import file_digest
from pytest_onnxprep.artifacts.onnx_model import OnnxModel
from pytest_onnxprep.errors import BaselineError, SourceError
from pytest_onnxprep.runtime.session import session_types
from pytest_onnxprep.sources.onnx_file import external_files

SCHEMA = "onnxprep-baseline/1"
_MODELS = "models"
#: Where CI systems name the revision they build.
_COMMIT = ("GITHUB_SHA", "CI_COMMIT_SHA", "BUILDKITE_COMMIT", "CIRCLE_SHA1")
#: Versions that decide how fast a file runs; the others only decide what the exporter writes.
_DECISIVE = ("onnxruntime", "numpy")


@dataclass(frozen=True)
class Baseline:
    """A stored baseline.

    Args:
        path: the ONNX file.
        digest: of its content, external data included.
        signature: see `signature_of`.
        environment: where it was saved.
        saved: when, ISO 8601; with ``commit`` where CI said which.
        commit: the revision, or an empty string.
        figures: size label (``batch=1``) -> what was measured then, on that machine.
    """

    path: Path
    digest: str
    signature: Mapping[str, Any]
    environment: Mapping[str, Any]
    saved: str
    commit: str
    figures: Mapping[str, Any]

    @property
    def label(self) -> str:
        """``the baseline of 2026-11-25 (commit 1a2b3c4)``."""
        of = f" (commit {self.commit[:7]})" if self.commit else ""
        return f"the baseline of {self.saved[:10]}{of}"


def load(folder: Path, key: str) -> Baseline | None:
    """The baseline of a test and variant; None where there is none.

    Raises:
        BaselineError: there is one, and it cannot be used as it is.
    """
    record = _record(folder, key)
    try:
        text = record.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    except OSError as error:
        raise BaselineError(f"baseline {record} cannot be read: {error.strerror or error}") from error
    try:
        found = json.loads(text)
        if found["schema"] != SCHEMA:
            raise BaselineError(f"baseline {record} is of schema {found['schema']!r}, this version reads {SCHEMA!r}")
        path = (folder / found["model"]).resolve()
        if not path.is_relative_to((folder / _MODELS).resolve()):
            raise BaselineError(f"baseline {record} names a file outside its own folder: {found['model']!r}")
        baseline = Baseline(
            path,
            str(found["digest"]),
            dict(found["signature"]),
            dict(found["environment"]),
            str(found["saved"]),
            str(found["commit"]),
            dict(found["figures"]),
        )
    except (ValueError, KeyError, TypeError) as error:
        raise BaselineError(
            f"baseline {record} is damaged ({type(error).__name__}: {error}); delete it and save it again"
        ) from error
    try:
        digest = _digest([path, *sorted(external_files(path))]) if path.is_file() else ""
    except (SourceError, OSError) as error:
        raise BaselineError(f"the model of baseline {record} cannot be used: {error}") from error
    if digest != baseline.digest:
        what = "is not what was saved" if digest else "is missing"
        raise BaselineError(f"the model of baseline {record} {what}: {path}; save the baseline again")
    return baseline


def save(
    folder: Path,
    key: str,
    model: OnnxModel,
    session: Any,
    *,
    environment: Mapping[str, Any],
    at: str,
    figures: Mapping[str, Any],
) -> Path:
    """Make a model the baseline of its test and variant.

    Figures of other sizes are kept as long as the file is the same.

    Args:
        folder: made where it does not exist.
        key: test and variant, see `pytest_onnxprep.plugin.items`.
        model: the file.
        session: of that file; tells its signature.
        environment: this machine.
        at: the sizes of ``figures``.
        figures: what was measured.

    Returns:
        The record.

    Raises:
        BaselineError: the disk refuses.
    """
    record = _record(folder, key)
    try:
        digest = _digest(model.files)
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(str(folder / ".lock")):
            stored = _keep_files(folder / _MODELS / digest, model)
            before = _before(record)
            kept = before.get("figures", {}) if before.get("digest") == digest else {}
            told = {
                "schema": SCHEMA,
                "key": key,
                "model": stored.relative_to(folder).as_posix(),
                "digest": digest,
                "signature": signature_of(session),
                "environment": fingerprint(environment),
                "saved": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
                "commit": next((value for name in _COMMIT if (value := os.environ.get(name))), ""),
                "figures": {**kept, at: dict(figures)},
            }
            _write(record, json.dumps(told, indent=1) + "\n")
            if before.get("digest") not in (None, digest):
                _forget(folder, str(before["digest"]))
    except OSError as error:
        raise BaselineError(f"cannot save the baseline in {folder}: {error.strerror or error}") from error
    return record


def is_same_file(baseline: Baseline, model: OnnxModel) -> bool:
    """Whether the model is the baseline, byte for byte."""
    return _digest(model.files) == baseline.digest


def signature_of(session: Any) -> dict[str, Any]:
    """Inputs and outputs as the file declares them; dims are numbers or ``"?"``, for names are not part of it."""
    inputs, outputs = session_types(session)
    return {
        kind: [
            [one.name, one.dtype, [size if isinstance(size, int) else "?" for size in one.shape]] for one in declared
        ]
        for kind, declared in (("inputs", inputs), ("outputs", outputs))
    }


def signature_changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """What differs, a line each: ``input 'x' was float32[?, 4], is float32[?, 8]``."""
    changes = []
    for kind in ("inputs", "outputs"):
        old, new = ({one[0]: one[1:] for one in side.get(kind, [])} for side in (before, now))
        one = kind[:-1]
        changes += [f"{one} {name!r} is gone" for name in old if name not in new]
        changes += [f"{one} {name!r} is new" for name in new if name not in old]
        changes += [
            f"{one} {name!r} was {_shown(old[name])}, is {_shown(new[name])}"
            for name in old
            if name in new and old[name] != new[name]
        ]
    return changes


def fingerprint(environment: Mapping[str, Any]) -> dict[str, Any]:
    """What of an environment decides how fast a file runs."""
    packages = environment.get("packages") or {}
    return {
        "python": environment.get("python"),
        "platform": environment.get("platform"),
        "packages": {name: packages[name] for name in _DECISIVE if name in packages},
        "cpu": dict(environment.get("cpu") or {}),
    }


def machine_changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """What differs between two fingerprints, a line each: ``cpu model was A, is B``."""
    old, new = _flat(before), _flat(now)
    return [
        f"{name} was {old.get(name) if old.get(name) is not None else 'unknown'}, "
        f"is {new.get(name) if new.get(name) is not None else 'unknown'}"
        for name in dict.fromkeys([*old, *new])
        if old.get(name) != new.get(name)
    ]


def _flat(found: Mapping[str, Any]) -> dict[str, Any]:
    flat: dict[str, Any] = {name: found.get(name) for name in ("python", "platform")}
    flat |= dict(found.get("packages") or {})
    for name, value in (found.get("cpu") or {}).items():
        flat[f"cpu {name}"] = " ".join(map(str, value)) if isinstance(value, list) else value
    return flat


def _shown(one: list[Any]) -> str:
    return f"{one[0]}[{', '.join(map(str, one[1]))}]"


def _record(folder: Path, key: str) -> Path:
    """A short, unique file name for a key; it says the same on every machine."""
    name = re.sub(r"[^\w.-]+", "-", key.rpartition("/")[2])[:80].strip("-")
    return folder / f"{name}-{hashlib.blake2b(key.encode(), digest_size=4).hexdigest()}.json"


def _digest(files: list[Path]) -> str:
    """Of a model and its external data, names included."""
    digest = hashlib.blake2b(digest_size=20)
    for name, path in _names(files).items():
        digest.update(f"{'' if path == files[0] else name}:{file_digest(path)}\n".encode())
    return digest.hexdigest()


def _names(files: list[Path]) -> dict[str, Path]:
    """Where each file lies beside the model; external data is found where links lead."""
    model, *external = files
    root = model.parent.resolve()
    return {model.name: model, **{path.relative_to(root).as_posix(): path for path in external}}


def _keep_files(target: Path, model: OnnxModel) -> Path:
    """Copy the files to a folder named after their content, in one step; they may be there already."""
    stored = target / model.path.name
    if target.is_dir():
        return stored
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=".new-", dir=target.parent))
    try:
        for name, path in _names(model.files).items():
            copy = temporary / name
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, copy)
        os.chmod(temporary, 0o755)  # noqa: S103 - as any other folder; mkdtemp's own is closed to other users
        os.rename(temporary, target)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return stored


def _before(record: Path) -> dict[str, Any]:
    """The record that is about to be replaced; a damaged one counts as none."""
    with contextlib.suppress(OSError, ValueError):
        found = json.loads(record.read_text(encoding="utf-8"))
        if isinstance(found, dict):
            return found
    return {}


def _write(record: Path, text: str) -> None:
    temporary = record.with_name(f".{record.name}.{os.getpid()}.tmp")
    try:
        temporary.write_text(text, encoding="utf-8")
        os.replace(temporary, record)
    finally:
        temporary.unlink(missing_ok=True)


def _forget(folder: Path, digest: str) -> None:
    """Delete files no record points to any more."""
    if digest not in set(_digests(folder)) and re.fullmatch(r"[0-9a-f]{40}", digest):
        shutil.rmtree(folder / _MODELS / digest, ignore_errors=True)


def _digests(folder: Path) -> Iterator[str]:
    for record in folder.glob("*.json"):
        yield str(_before(record).get("digest"))
