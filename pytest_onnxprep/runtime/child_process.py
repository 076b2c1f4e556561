"""Run a model in a fresh process that holds ONNX Runtime and NumPy only, and bring back what it cost.

What a test process holds (frameworks, pytest, other models) is not what the device will hold. The child is
`pytest_onnxprep.runtime.child_main`; this is its parent's side: the request, the limits, the deadline, and what an
early death means.
"""

from __future__ import annotations

import importlib.util
import json
import math
import os
import re
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pytest_onnxprep.errors import OnnxPrepError
from pytest_onnxprep.runtime import child_main
from pytest_onnxprep.runtime.child_limits import CgroupCap, Limits
from pytest_onnxprep.runtime.child_measure import ChildMeasure, Outcome
from pytest_onnxprep.runtime.custom_ops import library_path
from pytest_onnxprep.runtime.session import provider_name

Feeds = Mapping[str, Any]
#: One file, or several that one process loads.
Files = str | Path | Sequence[Path]
#: Of a run: the inputs of the file; of several files the calls in order: the place of a file, and its inputs.
Inputs = Feeds | Sequence[tuple[int, Feeds]]

POWERCAP = "/sys/class/powercap"
_NO_MEMORY = re.compile(
    r"bad_alloc|MemoryError|failed to allocate memory|cannot allocate memory|out of memory|std::length_error"
    r"|Resource temporarily unavailable|mmap.*failed|unable to allocate",
    re.IGNORECASE,
)
#: Seconds after its deadline that a child whose parent is gone ends itself.
_GRACE_S = 5
#: How often a child with a cap is looked at. Its peak is looked at, so that nothing between two looks is missed.
_WATCH_S = 0.02
#: Kept of what the child printed before it died.
_LAST_WORDS = 2000


def run_child(
    model_path: Files,
    feeds: Inputs,
    *,
    provider: str | None = None,
    threads: int | None = 1,
    runs: int = 10,
    warmup: int = 2,
    min_time_s: float = 0.0,
    more_feeds: Sequence[Inputs] = (),
    stop_after_s: float = 1e9,
    limits: Limits | None = None,
    pinned_cores: Sequence[int] | None = None,
    arena: bool = False,
    launcher: Sequence[str] = (),
    timeout_s: float = 120.0,
    custom_ops: Sequence[str] = (),
) -> ChildMeasure:
    """Load a model in a child of its own, run it once, then some more, and measure each step.

    A child that dies, hangs or is refused is no error here: `ChildMeasure.outcome` says which, and the figures up to
    then are kept.

    Args:
        model_path: the ONNX file, external data beside it; or several files that are loaded one after the other.
        feeds: input name -> array; of several files the calls that are one run: ``(place of the file, its feeds)``.
        provider: execution provider; None is the CPU's.
        threads: intra-op threads; None is ONNX Runtime's default.
        runs: timed runs at least, after the first run and the warm-up.
        warmup: runs between the first and the timed ones. The second run of a size makes the arena grow.
        min_time_s: go on with the timed runs for so long.
        more_feeds: further inputs to time after those, each with its own warm-up.
        stop_after_s: seconds of timed runs after which none of ``more_feeds`` is begun; the rest have no timing.
        limits: a cap on memory, and a priority.
        pinned_cores: the only CPUs the child may use.
        arena: also ask ONNX Runtime's profiler what its arena holds. It costs memory and time of its own, so take
            the other figures from a child without it.
        launcher: put before the child's command line, such as ``("/usr/bin/time", "-v")``.
        timeout_s: seconds after which the child is killed.
        custom_ops: libraries of custom operators; what Python registers with them here, the child does not have.

    Raises:
        OnnxPrepError: a provider, core or limit that cannot be had, or inputs NumPy's file format cannot hold.
    """
    limits = limits or Limits()
    cores = _checked_cores(pinned_cores)
    if launcher and limits.memory_bytes is not None and limits.enforce == "resident":
        raise OnnxPrepError("a child behind a launcher cannot be watched: use enforce='data' or leave memory_bytes out")
    with tempfile.TemporaryDirectory(prefix="onnxprep-child-") as name, CgroupCap(limits) as cgroup:
        folder = Path(name)
        sets = _save(folder / "feeds.npz", [feeds, *more_feeds])
        paths = [model_path] if isinstance(model_path, (str, Path)) else model_path
        request = {
            "models": [str(Path(path).resolve()) for path in paths],
            "feeds": str(folder / "feeds.npz"),
            "sets": sets,
            "provider": provider_name(provider),
            "threads": threads,
            "custom_ops": list(dict.fromkeys(map(library_path, custom_ops))),
            "runs": runs,
            "warmup": warmup,
            "min_time_s": min_time_s,
            "stop_after_s": stop_after_s,
            "give_up_s": math.ceil(timeout_s) + _GRACE_S,
            "cores": cores,
            "nice": limits.nice,
            "memory_bytes": limits.memory_bytes,
            "enforce": limits.enforce,
            "cgroup_procs": cgroup.procs,
            "profile": str(folder / "profile") if arena else "",
            "powercap": POWERCAP,
            "paths": _package_folders(),
        }
        (folder / "request.json").write_text(json.dumps(request), encoding="utf-8")
        watched = limits.memory_bytes if limits.enforce == "resident" else None
        child = _Child(folder, time.monotonic() + timeout_s, launcher, watched)
        facts = child.talk()
        return _measure(facts, child, limits, cgroup.killed(), timeout_s, threads)


class _Child:
    """One child from its start to its end, which is never later than the deadline.

    Args:
        folder: holds the request.
        deadline: on the monotonic clock.
        launcher: what starts it.
        most: bytes it may hold; it is ended when it holds more.
    """

    def __init__(self, folder: Path, deadline: float, launcher: Sequence[str], most: int | None) -> None:
        self.folder, self.deadline, self.launcher, self.most = folder, deadline, launcher, most
        self.timed_out = False
        self.seen = 0
        self.status: int | None = None

    def talk(self) -> list[dict[str, Any]]:
        """Everything the child told, one mapping a line."""
        reader, writer = os.pipe()
        try:
            with (self.folder / "output.txt").open("wb") as output:
                command = [*self.launcher, sys.executable, "-I", "-S", "-B", child_main.__file__]
                process = subprocess.Popen(  # noqa: S603  # our own interpreter and script
                    [*command, str(self.folder / "request.json"), str(writer)],
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    pass_fds=(writer,),
                    env=_environment(),
                    cwd=self.folder,
                    start_new_session=True,
                )
            os.close(writer)
            writer = -1
            try:
                told = self._read(reader, process.pid)
                self._wait(process)
            finally:
                self._end(process)
        finally:
            os.close(reader)
            if writer >= 0:
                os.close(writer)
        return [json.loads(line) for line in told.splitlines(keepends=True) if line.endswith(b"\n")]

    def last_words(self) -> str:
        """The end of what the child printed, on one line."""
        raw = (self.folder / "output.txt").read_bytes()[-_LAST_WORDS:]
        return " ".join(raw.decode("utf-8", "replace").split())

    @property
    def over(self) -> bool:
        """Whether it was seen to hold more than it may."""
        return self.most is not None and self.seen > self.most

    def _read(self, reader: int, pid: int) -> bytes:
        told = bytearray()
        while True:
            left = self.deadline - time.monotonic()
            if left <= 0:
                self.timed_out = True
                return bytes(told)
            if self.most is not None:
                self.seen = max(self.seen, _peak_of(pid))
                if self.over:
                    return bytes(told)
                left = min(left, _WATCH_S)
            if select.select([reader], [], [], left)[0]:
                part = os.read(reader, 1 << 16)
                if not part:
                    return bytes(told)
                told += part

    def _wait(self, process: subprocess.Popen[bytes]) -> None:
        if self.timed_out or self.over:
            return
        try:
            self.status = process.wait(max(self.deadline - time.monotonic(), 1.0))
        except subprocess.TimeoutExpired:
            self.timed_out = True

    @staticmethod
    def _end(process: subprocess.Popen[bytes]) -> None:
        """Leave nothing behind, whatever happened (Ctrl-C included)."""
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _measure(
    facts: Sequence[Mapping[str, Any]],
    child: _Child,
    limits: Limits,
    cgroup_killed: bool,
    timeout_s: float,
    threads: int | None,
) -> ChildMeasure:
    known: dict[str, Any] = {}
    timings = []
    for fact in facts:
        if "timing" in fact:
            timings.append(fact["timing"])
        else:
            known |= fact
    stage = known.get("stage", "start")
    outcome, message = _outcome(known, stage, child, limits, cgroup_killed, timeout_s)
    return ChildMeasure.of(known, timings, outcome=outcome, message=message, threads_asked=threads, limits=limits)


def _outcome(
    known: Mapping[str, Any], stage: str, child: _Child, limits: Limits, cgroup_killed: bool, timeout_s: float
) -> tuple[Outcome, str]:
    """What the end of the child means, and a sentence about it."""
    doing = _DOING.get(stage, stage)
    capped = f" under a cap of {limits.memory_bytes / 1e6:.4g} MB ({limits.how})" if limits.memory_bytes else ""
    if child.timed_out:
        return Outcome.TIMED_OUT, f"the child did not finish within {timeout_s:g} s: it was {doing}{capped}"
    if limits.enforce == "resident" and limits.memory_bytes is not None:
        peak = max(child.seen, known.get("steady", {}).get("peak", 0))
        if peak > limits.memory_bytes:
            more = "" if stage == "done" else "at least "
            return Outcome.OUT_OF_MEMORY, f"out of memory while {doing}{capped}: it held {more}{peak / 1e6:.0f} MB"
    if stage == "done" and child.status == 0:
        return Outcome.OK, ""
    error = str(known.get("error", ""))
    if error:
        short = " ".join(error.split())
        if known.get("memory_error") or _NO_MEMORY.search(error):
            return Outcome.OUT_OF_MEMORY, f"out of memory while {doing}{capped}: {short}"
        return (Outcome.FAILED if stage == "import" else Outcome.REFUSED), f"failed while {doing}{capped}: {short}"
    words = child.last_words()
    said = f"; it said: {words}" if words else ""
    if child.status is not None and child.status < 0:
        name = _signal_name(-child.status)
        if cgroup_killed or _NO_MEMORY.search(words):
            return Outcome.OUT_OF_MEMORY, f"out of memory while {doing}{capped}, ended by {name}{said}"
        if -child.status == signal.SIGKILL:
            hint = "most often that is the kernel, out of memory"
            return Outcome.KILLED, f"the child was killed ({name}) while {doing}{capped}; {hint}{said}"
        return Outcome.ABORTED, f"the child crashed ({name}) while {doing}{capped}{said}"
    if _NO_MEMORY.search(words):
        return Outcome.OUT_OF_MEMORY, f"out of memory while {doing}{capped}{said}"
    return Outcome.FAILED, f"the child ended with status {child.status} while {doing}{capped}{said}"


_DOING = {
    "start": "starting Python",
    "import": "importing ONNX Runtime",
    "load": "loading the model",
    "first run": "running the model for the first time",
    "steady runs": "running the model",
    "done": "running the model",
}


def _peak_of(pid: int) -> int:
    """Peak resident bytes of a living process; 0 of one that has just ended."""
    try:
        with open(f"/proc/{pid}/status", encoding="ascii", errors="replace") as file:
            return next((int(line.split()[1]) * 1024 for line in file if line.startswith("VmHWM:")), 0)
    except OSError:
        return 0


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _checked_cores(cores: Sequence[int] | None) -> list[int]:
    if cores is None:
        return []
    usable = os.sched_getaffinity(0)
    wrong = [core for core in cores if core not in usable]
    if wrong or not cores:
        listed = ", ".join(map(str, sorted(usable)))
        raise OnnxPrepError(f"pinned_cores must name CPUs this process may use ({listed}), not {list(cores)!r}")
    return sorted(set(cores))


def _environment() -> dict[str, str]:
    """The caller's, without what would put more into the child than ONNX Runtime."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "COVERAGE", "COV_"))}
    # NumPy's BLAS would start a thread for every core; the child multiplies nothing.
    return {**kept, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


def _package_folders() -> list[str]:
    """Where the child finds NumPy and ONNX Runtime: exactly those of this process."""
    folders = []
    for package in ("numpy", "onnxruntime"):
        spec = importlib.util.find_spec(package)
        if spec is None or spec.origin is None:
            raise OnnxPrepError(f"{package} is not installed as a package the child process can import")
        folders.append(str(Path(spec.origin).resolve().parent.parent))
    return list(dict.fromkeys(folders))


def _save(path: Path, sets: Sequence[Inputs]) -> list[list[tuple[int, dict[str, str]]]]:
    """Write all inputs to one file, each array once; return per set and call the file's place and name -> key.

    Raises:
        OnnxPrepError: an input that NumPy cannot save without pickle.
    """
    arrays: dict[str, np.ndarray] = {}
    keys: dict[int, str] = {}
    for feeds in (feeds for inputs in sets for _, feeds in _calls(inputs)):
        for name, value in feeds.items():
            array = np.asarray(value)
            array = array.astype(str) if array.dtype.kind == "O" else array
            if array.dtype.kind == "V":  # an ml_dtypes type: NumPy would forget which
                raise OnnxPrepError(f"input {name!r} is {array.dtype.name}, which cannot be handed to a child process")
            arrays[keys.setdefault(id(value), f"t{len(keys)}")] = array
    with path.open("wb") as file:
        np.savez(file, **arrays)  # type: ignore[arg-type]  # its keyword allow_pickle is not ours
    return [
        [(place, {name: keys[id(value)] for name, value in feeds.items()}) for place, feeds in _calls(inputs)]
        for inputs in sets
    ]


def _calls(inputs: Inputs) -> Sequence[tuple[int, Feeds]]:
    return [(0, inputs)] if isinstance(inputs, Mapping) else inputs
