"""Exported programs, read and run in a child process; see `trial`. Apart, as loading torch.export takes seconds."""

from __future__ import annotations

from pathlib import Path

from pytest_onnxprep.sources import torch_trial


def prepare() -> None:
    """Load what the trials need."""
    import torch._dynamo
    import torch._functorch.aot_autograd
    import torch.export.pt2_archive._package  # noqa: F401


def try_program(file: str) -> None:
    """Read an exported program, and make a module of it."""
    from pytest_onnxprep.sources.torch_file import read_program

    with torch_trial.quiet():
        read_program(Path(file)).module(check_guards=False)  # comparisons; torch compiles them at length


def run_program(file: str, feeds: str, dtypes: dict[str, str]) -> None:
    """Run an exported program once."""
    from pytest_onnxprep.sources.torch_file import read_program
    from pytest_onnxprep.sources.torch_program import ProgramSource

    torch_trial.run(lambda: ProgramSource(read_program(Path(file)), guarded=False), feeds, dtypes)
