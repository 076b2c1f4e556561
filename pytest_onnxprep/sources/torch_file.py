"""Files of PyTorch's: TorchScript, exported programs, and the checkpoints that are weights without a model."""

from __future__ import annotations

import contextlib
import logging
import pickle
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

from pytest_onnxprep.errors import SourceError
from pytest_onnxprep.sources import torch_archive, torch_failure, torch_program_trial, torch_trial
from pytest_onnxprep.sources.base import Feeds
from pytest_onnxprep.sources.torch_checkpoint import about_checkpoint, needs_model
from pytest_onnxprep.sources.torch_module import TorchSource
from pytest_onnxprep.sources.torch_program import ProgramSource, is_program
from pytest_onnxprep.sources.torch_program_check import check_program, unfit_keys
from pytest_onnxprep.sources.torch_script_check import check_script
from pytest_onnxprep.sources.trial import failure_of_run, limits
from pytest_onnxprep.spec.signature import Signature


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
        raise SourceError(needs_model(value, names, "safetensors.torch.load_file({path!r})"))
    raise SourceError(about_checkpoint(value))


def _load_script(path: Path) -> TorchSource:
    check_script(path)
    failed = torch_failure.of(torch_trial.try_script, path)
    if failed:
        raise SourceError(f"source {str(path)!r} {failed}")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        source = ScriptFile(torch_trial.read_script(str(path)))
    source.path = path
    source.label = f"{path.name} (TorchScript)"
    return source


def _load_program(path: Path) -> ProgramSource:
    check_program(path)
    failed = torch_failure.of(torch_program_trial.try_program, path)
    if failed:
        raise SourceError(f"source {str(path)!r} {failed}")
    source = ProgramFile(read_program(path), f"{path.name} (torch.export)")
    source.path = path
    return source


class ScriptFile(TorchSource):
    """A TorchScript file; made elsewhere, it is tried out before it runs here."""

    path: Path

    def try_out(self, feeds: Feeds, signature: Signature) -> str:  # noqa: ARG002
        """See `Source.try_out`."""
        return _failure_of_run(torch_trial.run_script, self.path, feeds)


class ProgramFile(ProgramSource):
    """A ``.pt2`` file, likewise."""

    path: Path

    def try_out(self, feeds: Feeds, signature: Signature) -> str:  # noqa: ARG002
        """See `Source.try_out`."""
        return _failure_of_run(torch_program_trial.run_program, self.path, feeds)


def _failure_of_run(work: Callable[..., None], path: Path, feeds: Feeds) -> str:
    return failure_of_run(work, str(path), feeds, **limits(path.stat().st_size))


def read_program(path: Path) -> Any:
    """The program of a file that `check_program` let pass.

    Raises:
        SourceError: it would unpickle more than tensors, or torch does not read it.
    """
    import torch

    log = logging.getLogger("torch.export")
    heard = _Heard()
    log.addFilter(heard)
    try:
        with warnings.catch_warnings(), _nothing_unpickled():
            warnings.simplefilter("ignore")
            return torch.export.load(str(path))
    except _WouldRun as error:
        raise SourceError(
            f"source {str(path)!r} is refused: it holds Python objects that run code when they are read ({error}); "
            "save it without constants of your own classes"
        ) from None
    except Exception as error:
        text = f"{type(error).__name__}: {error}" if heard.error is None else str(heard.error)
        raise SourceError(f"source {str(path)!r} {torch_failure.said(text, 'try_program')}") from error
    finally:
        log.removeFilter(heard)


class _Heard(logging.Filter):
    """torch logs the error that counts, with a traceback, and raises another."""

    error: BaseException | None = None

    def filter(self, record: logging.LogRecord) -> bool:
        """Keep the error, and the log clean of it."""
        if record.exc_info and record.exc_info[1] is not None:
            self.error = record.exc_info[1]
            return False
        return True


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
            raise _WouldRun(torch_failure.named_global(str(error))) from None
        if unfit_keys(read):
            raise _WouldRun("keys that torch would put into code")
        return read

    def refuse(*_: Any, **__: Any) -> Any:
        raise _WouldRun("a pickled constant")

    with mock.patch.object(torch, "load", tensors_only), mock.patch.object(pickle, "loads", refuse):
        yield
