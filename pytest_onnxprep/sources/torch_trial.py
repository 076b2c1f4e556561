"""TorchScript files and checkpoints, read and run in a child process; see `trial`."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from pytest_onnxprep.sources.trial import read_feeds

if TYPE_CHECKING:
    from pytest_onnxprep.sources.torch_module import TorchSource

#: How torch says that there is no memory: it raises no MemoryError.
_NO_MEMORY = ("you tried to allocate", "Cannot allocate memory", "bad_alloc")


def prepare() -> None:
    """Load what the trials need."""
    import torch.jit  # noqa: F401


def try_script(file: str) -> None:
    """Read a TorchScript file to the end: records of where its code came from are read when a graph is shown."""
    with quiet():
        module = read_script(file)
        for part in module.modules():
            inside: Any = getattr(part, "_c", None)
            for name in inside._method_names() if inside is not None else ():
                str(inside._get_method(name).graph)


def try_checkpoint(file: str) -> None:
    """Read the names and shapes of a checkpoint's tensors."""
    read_checkpoint(file)


def run_script(file: str, feeds: str, dtypes: dict[str, str]) -> None:
    """Run a TorchScript file once."""
    from pytest_onnxprep.sources.torch_module import TorchSource

    run(lambda: TorchSource(read_script(file)), feeds, dtypes)


def run(made: Callable[[], TorchSource], feeds: str, dtypes: dict[str, str]) -> None:
    """What torch merely refuses, or lacks here because the user registered it elsewhere, is told by the run itself."""
    import torch

    from pytest_onnxprep.sources.torch_module import from_numpy

    try:
        with quiet(), torch.no_grad():
            source = made()
            source.call({name: from_numpy(array, source.device()) for name, array in read_feeds(feeds, dtypes).items()})
    except MemoryError:
        raise
    except Exception as error:
        if any(text in str(error) for text in _NO_MEMORY):
            raise MemoryError from None


def read_script(file: str) -> Any:
    """A TorchScript file, in inference mode."""
    import torch

    read: Any = torch.jit.load
    module = read(file, map_location="cpu")
    with contextlib.suppress(Exception):  # a frozen module has no mode
        module.eval()
    return module


def read_checkpoint(file: str) -> Any:
    """What torch.load reads without its numbers."""
    import torch

    with quiet():
        return torch.load(file, map_location="meta", weights_only=True)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Without warnings."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that torch.jit is deprecated is between the user and torch
        yield
