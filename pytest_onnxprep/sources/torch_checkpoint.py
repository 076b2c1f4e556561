"""Checkpoints: weights without a model, and pickled modules, which are not read."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pytest_onnxprep.runtime.once import once_per_file
from pytest_onnxprep.sources import torch_failure, torch_trial
from pytest_onnxprep.sources.torch_pickle import is_nowhere, named_in_pickle
from pytest_onnxprep.sources.torch_reader import check_size

#: Keys under which training scripts keep a model's weights.
_USUAL = ("state_dict", "model_state_dict", "model", "net", "ema", "weights", "params", "generator")
#: Kinds of objects a pickle of nothing but weights names.
_HARMLESS = ("torch._utils.", "torch.", "collections.OrderedDict", "numpy.", "_codecs.encode", "builtins.set")


@once_per_file
def about_checkpoint(path: Path) -> str:
    """What to do with a checkpoint, or with a pickled module; looked at once until it changes.

    Raises:
        SourceError: it is damaged, or unpacks beyond measure.
    """
    damaged = _damage(path)
    if damaged:
        return _is_damaged(path, damaged)
    import torch  # noqa: F401 - its modules are looked up by name

    named = named_in_pickle(path)
    foreign = [name for name in named.names if not name.startswith(_HARMLESS) or name.startswith("torch.nn.modules")]
    nowhere = [name for name in named.names if is_nowhere(name) and name.startswith((*_HARMLESS, "torch", "coll"))]
    if not named.whole or nowhere or any(not name.isprintable() for name in foreign):
        return _is_damaged(
            path, "its pickle cannot be followed to its end" if not named.whole else "it names what is nowhere"
        )
    if foreign:
        return _is_program(path, ", ".join(foreign[:3]) + (", ..." if len(foreign) > 3 else ""))
    failed = torch_failure.of(torch_trial.try_checkpoint, path)
    if "GLOBAL" in failed:
        return _is_program(path, torch_failure.named_global(failed))
    if failed:
        return f"source {str(path)!r} {failed}"
    return _holds(path, torch_trial.read_checkpoint(str(path)))


def _damage(path: Path) -> str:
    """The first entry of a zip archive whose checksum is wrong."""
    if not zipfile.is_zipfile(path):
        return ""
    try:
        with zipfile.ZipFile(path) as archive:
            check_size(path, archive.infolist())
            broken = archive.testzip()
    except (zipfile.BadZipFile, OSError, ValueError, EOFError, RuntimeError, zlib.error) as error:
        return torch_failure.reason(str(error))
    return f"the checksum of {broken} is wrong" if broken else ""


def _is_damaged(path: Path, why: str) -> str:
    return f"source {str(path)!r} is damaged: {why}; copy it, or save it with torch.save, again"


def _holds(path: Path, found: Any) -> str:
    import torch

    if isinstance(found, torch.Tensor):
        return f"source {str(path)!r} holds one tensor, and no model; inputs are given with samples= of @onnx_export"
    if not isinstance(found, Mapping):
        return f"source {str(path)!r} holds a {type(found).__name__}, and no model"
    load = "torch.load({path!r}, weights_only=True)"
    weights: Mapping[str, Any] = found
    if not _is_state(found):
        inside = [key for key in _USUAL if _is_state(found.get(key))] or [key for key in found if _is_state(found[key])]
        if not inside:
            return f"source {str(path)!r} holds a mapping of {', '.join(map(str, list(found)[:5]))}, and no model"
        weights, load = found[inside[0]], f"{load}[{inside[0]!r}]"
    return needs_model(path, list(weights), load)


def _is_program(path: Path, named: str) -> str:
    return (
        f"source {str(path)!r} is a pickled Python object ({named}): reading it runs code, so it was not read. Save "
        "the weights (torch.save(model.state_dict(), path)) or TorchScript (torch.jit.save), and give a factory that "
        "builds the module and loads them; torch.load(path, weights_only=False) in a factory of yours is your own "
        "decision, for files you made"
    )


def _is_state(value: Any) -> bool:
    import torch

    return isinstance(value, Mapping) and any(isinstance(tensor, torch.Tensor) for tensor in value.values())


def needs_model(path: Path, names: list[str], load: str) -> str:
    """What to do with weights: the factory to write."""
    shown = ", ".join(names[:3]) + (f", ... {len(names)} in all" if len(names) > 3 else "")
    prefix = "module." if names and all(name.startswith("module.") for name in names) else ""
    strip = (
        f"\nIts names begin with {prefix!r}: strip that, or load into torch.nn.DataParallel(model)." if prefix else ""
    )
    return (
        f"source {str(path)!r} holds weights only ({shown}), and no model to put them into; give a factory instead:\n"
        "    def build():\n"
        "        model = Net()\n"
        f"        model.load_state_dict({load.format(path=str(path))})\n"
        f"        return model.eval(){strip}"
    )
