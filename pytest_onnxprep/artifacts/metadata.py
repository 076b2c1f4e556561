"""Where a file comes from, written into the file itself: ``metadata_props`` with the prefix ``onnxprep.``."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from pytest_onnxprep.artifacts import entry_files
from pytest_onnxprep.artifacts.onnx_model import OnnxModel
from pytest_onnxprep.errors import OnnxPrepError, SpecError
from pytest_onnxprep.spec.verdict import CheckResult

PREFIX = "onnxprep."
#: Of a parity check's figures those that say what was proven.
_PARITY = ("examples", "max_abs", "worst_output", "atol", "rtol", "tightest", "metrics", "sizes_tried", "oracle")
_GIT_S = 5.0


def write_metadata(
    model: OnnxModel,
    path: str | Path,
    *,
    parity: CheckResult | Mapping[str, Any] | None = None,
    extra: Mapping[str, Any] | None = None,
    overwrite: bool = False,
) -> Path:
    """Write a copy of the file that says where it comes from; graph and weights are the same to the bit.

    The keys are ``onnxprep.source``, ``.framework``, ``.exporter``, ``.opset``, ``.options``, ``.packages``,
    ``.version``, ``.spec_hash`` (of inputs, outputs, dims and variant), ``.git_commit`` (of the working directory;
    ends in ``-dirty`` where files that git knows were changed; left out where there is no repository) and ``.parity``.
    Keys of others are kept. External data is copied beside the file, unless the target lies in the model's own folder.

    Args:
        model: from ``onnx_exporter`` or ``onnx_model``.
        path: the file to write. It appears complete or not at all.
        parity: what ``assert_parity`` returned, or figures of your own.
        extra: further keys, written as they are (without the prefix); what is no text is written as JSON.
        overwrite: whether a file at ``path`` is replaced, the model's own included; one of the export cache never is.

    Returns:
        The path written.

    Raises:
        OnnxPrepError: the path lies in the export cache, holds a file already, or cannot be written; the model has
            several files.
        SpecError: ``extra`` or ``parity`` cannot be written as JSON.
    """
    import onnx

    if model.parts:
        first = next(iter(model.parts))
        raise OnnxPrepError(
            f"write_metadata: {model.source.label} has several files ({', '.join(model.parts)}), and this writes one; "
            f"write each of them: write_metadata(onnx_model.stages[{first!r}], ...)"
        )
    target = Path(path).absolute()
    _check_target(target, overwrite=overwrite)
    stamped = {**_provenance(model), **({} if parity is None else {f"{PREFIX}parity": _parity(parity)})}
    stamped |= {str(key): _text(str(key), value) for key, value in (extra or {}).items()}
    proto = onnx.load(str(model.path), load_external_data=False)
    kept = {entry.key: entry.value for entry in proto.metadata_props if not entry.key.startswith(PREFIX)}
    del proto.metadata_props[:]
    onnx.helper.set_model_props(proto, {**kept, **stamped})
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        _copy_external(model, target.parent)
        _replace(target, lambda file: file.write(proto.SerializeToString()))
    except OSError as error:
        raise OnnxPrepError(f"write_metadata cannot write {str(target)!r}: {error.strerror or error}") from error
    return target


def _check_target(target: Path, *, overwrite: bool) -> None:
    if (target.resolve().parent / entry_files.RECORD).exists():
        raise OnnxPrepError(
            f"write_metadata: {str(target)!r} lies in the export cache, whose files vouch for their bytes; "
            "give a path outside of it"
        )
    if target.is_dir():
        raise OnnxPrepError(f"write_metadata: {str(target)!r} is a folder; the path of an .onnx file is accepted")
    if target.exists() and not overwrite:
        raise OnnxPrepError(f"write_metadata: {str(target)!r} exists; overwrite=True replaces it")


def _provenance(model: OnnxModel) -> dict[str, str]:
    known = model.provenance
    options = _described(model.variant.options)
    described = {
        "signature": model.signature.canonical(),
        "order": [list(model.signature.inputs), list(model.signature.outputs or {})],
        "variant": {**model.variant.to_json(), "options": options},
    }
    text = json.dumps(described, sort_keys=True, default=str)
    found: dict[str, Any] = {
        "version": _installed("pytest-onnxprep"),
        "source": model.source.label,
        "framework": model.source.framework,
        "exporter": model.variant.exporter or known.get("exporter"),
        "opset": model.opset,
        "options": options or None,
        "packages": {**known.get("packages", {}), "onnx": _installed("onnx"), "onnxruntime": _installed("onnxruntime")},
        "spec_hash": hashlib.blake2b(text.encode(), digest_size=16).hexdigest(),
        "git_commit": _git_commit(),
    }
    return {PREFIX + key: _text(key, value) for key, value in found.items() if value not in (None, "")}


def _described(value: Any) -> Any:
    """Options as plain data: functions and classes, such as translations, by name, the same in every process."""
    if value is None or isinstance(value, (str, bool, int, float)):
        return value
    if isinstance(value, Mapping):
        return {key if isinstance(key, str) else str(_described(key)): _described(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_described(item) for item in value]
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    name = getattr(value, "__qualname__", None) or getattr(value, "__name__", None)
    if name:
        return f"{getattr(value, '__module__', '')}.{name}".lstrip(".")
    text = str(value)
    return type(value).__qualname__ if " at 0x" in text else text


def _parity(result: CheckResult | Mapping[str, Any]) -> str:
    if isinstance(result, CheckResult):
        figures = {key: result.figures[key] for key in _PARITY if key in result.figures}
        return _text("parity", {"verdict": result.verdict.value, **figures})
    return _text("parity", dict(result))


def _text(key: str, value: Any) -> str:
    if isinstance(value, str):
        return value
    try:
        return json.dumps(value, sort_keys=True, default=_plain)
    except (TypeError, ValueError) as error:
        raise SpecError(
            f"write_metadata: {key!r} cannot be written as JSON ({error}); "
            "text, numbers, lists and mappings are accepted"
        ) from error


def _plain(value: Any) -> Any:
    if hasattr(value, "item"):
        return value.item()
    raise TypeError(f"{type(value).__name__} is no plain value")


def _installed(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def _git_commit() -> str:
    """The commit of the working directory, or an empty string."""
    commit = _git("rev-parse", "HEAD")
    if not commit:
        return ""
    return f"{commit}-dirty" if _git("status", "--porcelain", "--untracked-files=no") else commit


def _git(*arguments: str) -> str:
    try:
        done = subprocess.run(  # noqa: S603 - nothing of it comes from outside
            ["git", "--no-optional-locks", *arguments],  # noqa: S607 - the user's own git
            capture_output=True,
            text=True,
            timeout=_GIT_S,
            check=False,
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def _copy_external(model: OnnxModel, folder: Path) -> None:
    """Copy external data beside the target; data that is there with the same size and bytes stays."""
    home = model.path.resolve().parent
    for file in model.files[1:]:
        copy = folder.resolve() / file.relative_to(home)
        if copy == file:
            continue
        if copy.exists():
            same_size = copy.stat().st_size == file.stat().st_size
            if same_size and entry_files.file_digest(copy) == entry_files.file_digest(file):
                continue
            raise OnnxPrepError(
                f"write_metadata: {str(copy)!r} holds other data than the model's weights; write into another folder"
            )
        copy.parent.mkdir(parents=True, exist_ok=True)
        _replace(copy, lambda out, file=file: _pour(file, out))


def _pour(file: Path, out: Any) -> None:
    with file.open("rb") as source:
        shutil.copyfileobj(source, out, 1 << 22)


def _replace(target: Path, write: Any) -> None:
    """Write beside the target, then put it in its place in one step."""
    descriptor, name = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(name, 0o644)
        os.replace(name, target)
    except BaseException:
        os.unlink(name)
        raise
