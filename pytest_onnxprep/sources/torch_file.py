"""Files of PyTorch's: TorchScript, exported programs, and the checkpoints that are weights without a model."""

from __future__ import annotations

import contextlib
import pickle
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from unittest import mock

from pytest_onnxprep.errors import SourceError
from pytest_onnxprep.sources import torch_archive
from pytest_onnxprep.sources.load import one_line
from pytest_onnxprep.sources.torch_module import TorchSource
from pytest_onnxprep.sources.torch_program import ProgramSource, is_program
from pytest_onnxprep.sources.torch_program_check import check_program, unfit_keys
from pytest_onnxprep.sources.trial import failure_of

#: Keys under which training scripts keep a model's weights.
_USUAL = ("state_dict", "model_state_dict", "model", "net", "ema", "weights", "params", "generator")
#: Kinds of objects a pickle of nothing but weights names.
_HARMLESS = ("torch._utils.", "torch.", "collections.OrderedDict", "numpy.", "_codecs.encode", "builtins.set")


def load(value: Any) -> TorchSource:
    """Make a source of a module, an exported program, or a file of either.

    Raises:
        SourceError: the file is damaged, holds weights only, or would run code when it is read.
    """
    if not isinstance(value, Path):
        return ProgramSource(value) if is_program(value) else TorchSource(value)
    kind = torch_archive.kind_of(value)
    if kind == torch_archive.SCRIPT:
        return _load_script(value)
    if kind == torch_archive.PROGRAM:
        return _load_program(value)
    if kind == torch_archive.SAFETENSORS:
        names = torch_archive.safetensors_names(value)
        raise SourceError(_needs_model(value, names, "safetensors.torch.load_file({path!r})"))
    raise SourceError(_about_pickle(value))


def _load_script(path: Path) -> TorchSource:
    import torch

    failed = failure_of(try_script, str(path))
    if failed:
        raise SourceError(f"source {str(path)!r} cannot be read by torch.jit.load: {one_line(ValueError(failed))}")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that torch.jit is deprecated is between the user and torch
        read: Any = torch.jit.load
        module = read(str(path), map_location="cpu")
        with contextlib.suppress(Exception):  # a frozen module has no mode
            module.eval()
    source = TorchSource(module)
    source.label = f"{path.name} (TorchScript)"
    return source


def try_script(file: str) -> None:
    """Read a file, for a child process."""
    import torch

    read: Any = torch.jit.load
    read(file, map_location="cpu")


def _load_program(path: Path) -> ProgramSource:
    import torch

    check_program(path)
    with warnings.catch_warnings(), _nothing_unpickled():
        warnings.simplefilter("ignore")
        try:
            program = torch.export.load(str(path))
        except _WouldRun as error:
            raise SourceError(
                f"source {str(path)!r} is refused: it holds Python objects that run code when they are read ({error}); "
                "save it without constants of your own classes"
            ) from None
    return ProgramSource(program, f"{path.name} (torch.export)")


class _WouldRun(pickle.UnpicklingError):
    """Reading would have called what a file names."""


@contextlib.contextmanager
def _nothing_unpickled() -> Iterator[None]:
    """torch.export.load unpickles sample inputs and constants with whatever they name: nothing but tensors may pass."""
    import torch

    load = torch.load

    def tensors_only(file: Any, *positional: Any, **given: Any) -> Any:
        try:
            read = load(file, *positional, **{**given, "weights_only": True})
        except pickle.UnpicklingError as error:
            raise _WouldRun(_named(str(error))) from None
        if unfit_keys(read):
            raise _WouldRun("keys that torch would put into code")
        return read

    def refuse(*_: Any, **__: Any) -> Any:
        raise _WouldRun("a pickled constant")

    with mock.patch.object(torch, "load", tensors_only), mock.patch.object(pickle, "loads", refuse):
        yield


def _named(text: str) -> str:
    """The object torch refused, in its message."""
    _, found, rest = text.partition("GLOBAL ")
    return rest.split()[0] if found and rest.split() else "a pickle of more than tensors"


def _about_pickle(path: Path) -> str:
    """What to do with a checkpoint, or with a pickled module."""
    import torch

    named = torch_archive.named_in_pickle(path)
    foreign = [name for name in named if not name.startswith(_HARMLESS) or name.startswith("torch.nn.modules")]
    if foreign:
        return _is_program(path, ", ".join(foreign[:3]) + (", ..." if len(foreign) > 3 else ""))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = torch.load(str(path), map_location="meta", weights_only=True)
    except pickle.UnpicklingError as error:
        if "GLOBAL" in str(error):
            return _is_program(path, _named(str(error)))
        return f"source {str(path)!r} is damaged, or no checkpoint that torch.load reads"
    except Exception as error:
        return f"source {str(path)!r} is damaged, or no checkpoint that torch.load reads: {one_line(error)}"
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
    return _needs_model(path, list(weights), load)


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


def _needs_model(path: Path, names: list[str], load: str) -> str:
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
