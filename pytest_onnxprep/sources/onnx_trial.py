"""A file for ONNX Runtime is loaded and run in a child process first: what ends it, or never ends, ends nothing here.

A graph of a few hundred bytes can loop 2**62 times, compute the size of a tensor, or double a text until memory is
gone; no look at the file tells. What ONNX Runtime merely refuses is left to it to say, where it is loaded in earnest.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pytest_onnxprep.errors import OnnxPrepError
from pytest_onnxprep.runtime.custom_ops import is_exposed, library_path, portable, register
from pytest_onnxprep.runtime.once import identity
from pytest_onnxprep.runtime.session import make_session
from pytest_onnxprep.sources.trial import failure_of, failure_of_run, limits, read_feeds

#: Files from which on external data is mapped instead of packed, as `make_session` is asked to elsewhere.
_LEAN_BYTES = 1_000_000_000
_MOST_THREADS = 4

_EXPOSED = "; onnxruntime-extensions was imported after TensorFlow, beside which it may crash: import it first"

_known: dict[tuple[object, ...], str] = {}


def failure_to_load(path: Path, files: Sequence[Path], libraries: Sequence[str] = ()) -> str:
    """Why a file does not survive being loaded; empty where it does. Once per file and process.

    Args:
        path: the file.
        files: its external data.
        libraries: of custom operators.
    """
    key = ("load", *map(identity, [path, *files]), *libraries)
    if key not in _known:
        total = _total([path, *files])
        exposed = is_exposed(libraries)
        failed = failure_of(load, str(path), total, portable(libraries), exposed, **limits(total))
        _known[key] = failed and f"{failed}{_EXPOSED if exposed else ''}"
    return _known[key]


def failure_to_run(
    path: Path, files: Sequence[Path], feeds: Mapping[str, np.ndarray], libraries: Sequence[str] = ()
) -> str:
    """Likewise of a run on these inputs, as it is and optimised."""
    return _failure_to_run(run, path, files, feeds, libraries, 1)


def failure_at_largest(
    path: Path, files: Sequence[Path], feeds: Mapping[str, np.ndarray], libraries: Sequence[str] = ()
) -> str:
    """Likewise of a run at the largest sizes, as it is: it may take four times as long and twice the memory."""
    return _failure_to_run(run_once, path, files, feeds, libraries, 2)


def _failure_to_run(
    work: Any, path: Path, files: Sequence[Path], feeds: Mapping[str, np.ndarray], libraries: Sequence[str], times: int
) -> str:
    shapes = [(name, array.shape) for name, array in feeds.items()]
    key = (work.__name__, *map(identity, [path, *files]), *libraries, *shapes)
    if key not in _known:
        total = _total([path, *files])
        allowed = limits(total, times=times)
        exposed = is_exposed(libraries)
        failed = failure_of_run(work, str(path), feeds, total, portable(libraries), exposed, **allowed)
        _known[key] = failed and f"{failed}{_EXPOSED if exposed else ''}"
    return _known[key]


def check_libraries(libraries: Sequence[str]) -> None:
    """Register libraries of custom operators in a child first, once per library and process.

    Raises:
        OnnxPrepError: one is not there, or ends the process that loads it.
    """
    for library in portable(libraries):
        path = library_path(library)
        key = ("library", identity(Path(path)))
        if key not in _known:
            _known[key] = failure_of(load_library, library, **limits(0))
        if _known[key]:
            raise OnnxPrepError(
                f"ort_custom_ops: {path!r} is not loaded here, as in a process of its own {_known[key]}; "
                "the file is cut off or damaged: build or install the library anew"
            )


def load(file: str, total: int, libraries: Sequence[str], exposed: bool) -> None:
    """For the child: load it as the reference is loaded."""
    _import_plainly(exposed)
    _quietly(lambda: _session(file, total, libraries, optimized=False))


def run(file: str, feeds: str, dtypes: Mapping[str, str], total: int, libraries: Sequence[str], exposed: bool) -> None:
    """For the child: load and run it as the reference is run, and as the file under test is."""
    _import_plainly(exposed)
    given = read_feeds(feeds, dtypes)
    for optimized in (False, True):
        _quietly(lambda optimized=optimized: _session(file, total, libraries, optimized=optimized).run(None, given))


def run_once(
    file: str, feeds: str, dtypes: Mapping[str, str], total: int, libraries: Sequence[str], exposed: bool
) -> None:
    """For the child: load and run it as the reference is run."""
    _import_plainly(exposed)
    given = read_feeds(feeds, dtypes)
    _quietly(lambda: _session(file, total, libraries, optimized=False).run(None, given))


def load_library(library: str) -> None:
    """For the child: register a library."""
    import onnxruntime

    _quietly(lambda: register(onnxruntime.SessionOptions(), [library]))


def prepare() -> None:
    """Load what the others need; see `trial`."""
    import onnxruntime  # noqa: F401


def _session(file: str, total: int, libraries: Sequence[str], *, optimized: bool) -> Any:
    threads = min(os.cpu_count() or 1, _MOST_THREADS)  # each takes address space
    lean = total > _LEAN_BYTES
    return make_session(file, optimized=optimized, threads=threads, custom_ops=libraries, lean=lean)


def _import_plainly(exposed: bool) -> None:
    """As the process did that the file is tried out for; see `load_extensions`."""
    for name in ("tensorflow", "onnxruntime_extensions") if exposed else ():
        importlib.import_module(name)


def _quietly(work: Any) -> None:
    """Only memory is told; ONNX Runtime has no type for it."""
    try:
        work()
    except MemoryError:
        raise
    except Exception as error:
        if "alloc" in str(error):
            raise MemoryError from error


def _total(files: Sequence[Path]) -> int:
    return sum(file.stat().st_size for file in files)
