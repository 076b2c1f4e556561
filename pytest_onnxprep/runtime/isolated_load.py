"""The child of `pytest_onnxprep.runtime.isolation.prove`: loads one file within limits, and runs it once on zeros."""

from __future__ import annotations

import resource
import sys
from pathlib import Path
from typing import Any

_SMALLEST_RUN = 10_000_000


def main() -> int:
    """Exit status 0: it loads; `REFUSED`: it does not, and stdout says why."""
    from pytest_onnxprep.runtime.isolation import LOAD_BYTES, REFUSED
    from pytest_onnxprep.runtime.session import make_session

    path, optimized = Path(sys.argv[1]), sys.argv[2] == "1"
    beside = sum(file.stat().st_size for file in path.parent.iterdir() if file.is_file())
    _limit(resource.RLIMIT_AS, LOAD_BYTES + 3 * beside)
    _limit(resource.RLIMIT_FSIZE, 0)
    _limit(resource.RLIMIT_CORE, 0)
    try:
        session = make_session(path, optimized=optimized, lean=beside > LOAD_BYTES // 4)
    except Exception as error:
        sys.stdout.write(_words(error) or str(error))
        return REFUSED
    feeds = {value.name: _zeros(value) for value in session.get_inputs()}
    if any(array is None for array in feeds.values()):
        return 0
    try:
        session.run(None, feeds)
    except Exception as error:  # zeros need not suit it; what ends the process, or never ends, is of interest here
        words = _words(error)
        sys.stdout.write(words)
        return REFUSED if words else 0
    return 0


def _words(error: Exception) -> str:
    """What an error says of memory; ONNX Runtime has no type for it."""
    text = str(error)
    if isinstance(error, MemoryError) or "alloc" in text:
        return f"it asks for more memory than a model of its size may: {text[:300]}"
    return ""


def _limit(kind: int, most: int) -> None:
    hard = resource.getrlimit(kind)[1]
    resource.setrlimit(kind, (most if hard == resource.RLIM_INFINITY else min(most, hard), hard))


def _zeros(value: Any) -> Any:
    """An array for an input; None where it would be large."""
    import numpy as np

    from pytest_onnxprep.runtime.session import session_types

    class _One:
        @staticmethod
        def get_inputs() -> list[Any]:
            return [value]

        @staticmethod
        def get_outputs() -> list[Any]:
            return []

    (info,), _ = session_types(_One())
    shape = [size if isinstance(size, int) else 1 for size in info.shape]
    if np.prod(shape, dtype=float) > _SMALLEST_RUN:
        return None
    return np.full(shape, "", object) if info.dtype == "string" else np.zeros(shape, info.dtype)


if __name__ == "__main__":
    sys.exit(main())
