"""The framework's own intermediate values: digests of bounded size, and where they arose."""

from __future__ import annotations

import linecache
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import numpy as np

#: Elements of a value that are kept: all of a small one, a fixed random sample of a large one.
SAMPLE = 16_384
#: Modules of ours that run between the user's frames and the operator they called.
_TRACERS = ("torch_trace.py", "tensorflow_trace.py")


@dataclass(frozen=True, slots=True)
class Digest:
    """What is remembered of an array: enough to recognise it, however large it is.

    Attributes:
        shape: its shape.
        sample: its elements in C order, or those at `positions`, as float64.
        low: smallest finite element.
        high: largest finite element.
        norm: root mean square of the finite elements.
        kind: numpy's dtype kind, ``f`` for every float.
    """

    shape: tuple[int, ...]
    sample: np.ndarray
    low: float
    high: float
    norm: float
    kind: str

    @property
    def size(self) -> int:
        """Number of elements of the array."""
        return int(np.prod(self.shape, dtype=np.int64))

    @property
    def scale(self) -> float:
        """Largest finite magnitude."""
        return max(abs(self.low), abs(self.high))

    @property
    def is_plain(self) -> bool:
        """Whether all elements are the same: such a value matches others by chance."""
        return self.low == self.high


@dataclass(frozen=True, slots=True)
class Traced:
    """One value of the framework: the result of an operator, an input, or a weight.

    Attributes:
        digest: the value.
        operator: the framework's name of the operator; ``weight`` or ``input``.
        name: a weight's path, an input's name, a TensorFlow tensor's name.
        layer: path of the layer, empty at the top.
        layer_kind: its class.
        line: the user's source line, ``file.py:12  x = self.norm(x)``.
        inputs: positions in the trace of the values it was computed from.
        inner: whether it lies inside an operator of the framework (a step of its decomposition).
    """

    digest: Digest
    operator: str
    name: str = ""
    layer: str = ""
    layer_kind: str = ""
    line: str = ""
    inputs: tuple[int, ...] = ()
    inner: bool = False

    @property
    def where(self) -> str:
        """``encoder.norm (LayerNorm)``."""
        kind = f" ({self.layer_kind})" if self.layer_kind else ""
        return f"{self.layer}{kind}" if self.layer else self.layer_kind


@dataclass(frozen=True)
class Trace:
    """Values in the order they were computed, weights first.

    Attributes:
        values: what was recorded.
        complete: False where time or memory ran out before the model did.
        why: what is missing, for the report.
        whole: position -> the whole value, where it was asked for.
    """

    values: tuple[Traced, ...] = ()
    complete: bool = True
    why: str = ""
    whole: Mapping[int, np.ndarray] = field(default_factory=dict)


@dataclass(frozen=True)
class Limits:
    """How far a trace goes.

    Attributes:
        max_s: seconds after which recording ends.
        max_bytes: bytes of digests after which recording ends.
        keep: positions of the values to keep whole; a trace of the same inputs has the same positions.
    """

    max_s: float = 3.0
    max_bytes: int = 256_000_000
    keep: frozenset[int] = frozenset()


DEFAULT = Limits()


def digest(array: np.ndarray) -> Digest | None:
    """The digest of a numeric array; None for text, objects and complex numbers."""
    kind = "f" if array.dtype.name in ("bfloat16", "float16") or array.dtype.kind == "f" else array.dtype.kind
    if kind not in "fiub":
        return None
    flat = array.reshape(-1)
    work = flat.astype(np.float32) if array.dtype.name == "bfloat16" else flat
    sample = take(work)
    if not work.size:
        return Digest(array.shape, sample, 0.0, 0.0, 0.0, kind)
    low, high = float(work.min()), float(work.max())
    with np.errstate(over="ignore", invalid="ignore"):
        norm = float(np.sqrt(np.mean(np.square(work, dtype=np.float64)))) if kind == "f" else 0.0
    if not (np.isfinite(low) and np.isfinite(high) and np.isfinite(norm)):
        finite = work[np.isfinite(work)].astype(np.float64)
        low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 0.0)
        norm = float(np.sqrt(np.mean(np.square(finite)))) if finite.size else 0.0
    return Digest(array.shape, sample, low, high, norm, kind)


def take(flat: np.ndarray) -> np.ndarray:
    """The elements of a flat array that a digest keeps, as float64."""
    chosen = flat if flat.size <= SAMPLE else flat[positions(flat.size)]
    return chosen.astype(np.float64)


@lru_cache(maxsize=64)
def positions(size: int) -> np.ndarray:
    """Which elements of a large array are kept: the same for every array of that size."""
    places = np.random.default_rng(size).integers(0, size, SAMPLE)
    places.sort()
    return places


def source_line(file: str, line: int, code: str = "") -> str:
    """``model.py:41  x = self.norm(x)``."""
    text = " ".join((code or linecache.getline(file, line)).split())
    return f"{Path(file).name}:{line}  {text}".rstrip()


def first_user_frame(frames: Iterable[tuple[str, int]], foreign: tuple[str, ...]) -> str:
    """The first frame, innermost first, that lies in none of the foreign folders.

    An empty string where this package called the model before one was met: nobody's line is better than a caller's.
    """
    own = str(Path(__file__).parent.parent)
    for file, line in frames:
        if file.startswith(own) and not file.endswith(_TRACERS):
            return ""
        if not file.startswith(("<", own, *foreign)):
            return source_line(file, line)
    return ""
