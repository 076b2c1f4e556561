"""The clean child process: ONNX Runtime, NumPy and one model, and what they cost. Run as a script.

It stands alone on purpose. A process that has imported a framework holds hundreds of megabytes that the device will
never see, so this one is started with ``-I -S`` (no ``.pth`` files, no ``sitecustomize``, no ``PYTHONPATH``) and gets
the folders of its two packages by hand. What it finds out it tells line by line, as JSON on a pipe, so that what was
known before it died is still known afterwards.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import sys
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

_STATUS = {"VmHWM": "peak", "VmRSS": "rss", "RssAnon": "anonymous", "VmSize": "size", "VmData": "data"}
_FATAL_ONLY = 4
#: Samples kept of one timing; a model of a microsecond would otherwise fill the memory that is being measured.
_MOST_SAMPLES = 20_000


def main(request_file: str, pipe: int) -> int:
    """Measure what the request asks for; the exit status is 0 where all of it was done."""
    with open(request_file, encoding="utf-8") as file:
        request = json.load(file)
    # Should the parent be killed, nobody ends a model that hangs; the default action of the alarm reaches native code.
    signal.alarm(request["give_up_s"])
    stage = "import"
    try:
        if request["cgroup_procs"]:  # before anything is imported: what was charged elsewhere stays there
            with open(request["cgroup_procs"], "w", encoding="ascii") as file:
                file.write(str(os.getpid()))
        if request["cores"]:
            os.sched_setaffinity(0, request["cores"])
        if request["nice"]:
            os.nice(request["nice"])
        sys.path += request["paths"]
        started = time.perf_counter()
        import numpy
        import onnxruntime

        import_s = time.perf_counter() - started
        sets = _feeds(numpy, request)
        limit = _set_limit(request)
        known = sys.stdlib_module_names
        tell(
            pipe,
            import_s=import_s,
            baseline=memory(),
            threads_before=thread_count(),
            modules=sorted({name.partition(".")[0] for name in sys.modules} - known - {"__main__"}),
            onnxruntime=onnxruntime.__version__,
            limit=limit,
        )
        stage = "load"
        tell(pipe, stage=stage)
        before = clocks()
        sessions = [_session(onnxruntime, request, place) for place in range(len(request["models"]))]
        tell(pipe, load=since(before), loaded=memory(), providers=sessions[0].get_providers())
        runs = [_one_run(sessions, calls) for calls in sets]
        stage = "first run"
        tell(pipe, stage=stage)
        before = clocks()
        runs[0]()
        tell(pipe, first_run=since(before))
        stage = "steady runs"
        tell(pipe, stage=stage)
        energy = Energy(request["powercap"])
        last = time.monotonic() + request["stop_after_s"]
        for index, run in enumerate(runs):
            if index and time.monotonic() > last:
                break
            tell(pipe, timing=_timing(run, request, energy))
        tell(pipe, steady=memory(), threads=thread_count())
        if request["profile"]:
            found = [arena_held(session.end_profiling()) for session in sessions]
            held = [arena for arena in found if arena is not None]  # a file that no call reaches tells nothing
            tell(pipe, arena=sum(held) if held else None)
    except MemoryError as error:
        tell(pipe, error=f"MemoryError: {error}", memory_error=True, stage=stage)
        return 3
    except Exception as error:
        tell(pipe, error=f"{type(error).__name__}: {error}", stage=stage)
        return 3
    tell(pipe, stage="done")
    return 0


def tell(pipe: int, **facts: Any) -> None:
    """Write one line, at once: the next step may be the last."""
    line = json.dumps(facts).encode() + b"\n"
    while line:
        line = line[os.write(pipe, line) :]


def memory() -> dict[str, int]:
    """Bytes of this process, from ``/proc``: resident now, at most so far, and reserved.

    Not ``ru_maxrss``: it survives ``exec``, so that the child of a large parent begins with the parent's peak.
    """
    found = {}
    with open("/proc/self/status", encoding="ascii", errors="replace") as file:
        for line in file:
            name, _, value = line.partition(":")
            if name in _STATUS:
                found[_STATUS[name]] = int(value.split()[0]) * 1024
    return found


def thread_count() -> int:
    """Threads of this process."""
    return len(os.listdir("/proc/self/task"))


def clocks() -> tuple[int, int, int]:
    """Nanoseconds on the wall, on the CPUs, and spent waiting for one."""
    return time.perf_counter_ns(), time.process_time_ns(), _waited_ns()


def since(before: tuple[int, int, int]) -> dict[str, float]:
    """What has passed on each of the clocks, in seconds."""
    wall, cpu, waited = (now - then for now, then in zip(clocks(), before, strict=True))
    return {"wall_s": wall / 1e9, "cpu_s": cpu / 1e9, "waited_s": max(waited, 0) / 1e9}


def _waited_ns() -> int:
    """What the scheduler let the main thread wait although it could have run; 0 where the kernel does not say.

    The main thread alone: the wall waits for it, and pool threads that wait show in its own waiting for them.
    """
    try:
        with open("/proc/self/schedstat", encoding="ascii") as file:
            return int(file.read().split()[1])
    except (OSError, IndexError, ValueError):
        return 0


class Energy:
    """The energy counters of Intel's and AMD's packages (RAPL), where the kernel lets us read them."""

    def __init__(self, root: str) -> None:
        self.zones: list[tuple[str, int]] = []
        try:
            names = sorted(os.listdir(root))
        except OSError:
            return
        for name in names:
            if name.count(":") == 1:  # a package; those with two colons are parts of one
                zone = os.path.join(root, name)
                most = self._number(os.path.join(zone, "max_energy_range_uj"))
                if most is not None and self._number(os.path.join(zone, "energy_uj")) is not None:
                    self.zones.append((os.path.join(zone, "energy_uj"), most))

    def read(self) -> list[int] | None:
        """Every package's counter in microjoules; None where there is none."""
        found = [self._number(path) for path, _ in self.zones]
        return None if not found or None in found else [value for value in found if value is not None]

    def between(self, before: list[int] | None, after: list[int] | None) -> float | None:
        """Joules from one reading to the next; a counter that wrapped is put right."""
        if before is None or after is None:
            return None
        used = 0
        for old, new, (_, most) in zip(before, after, self.zones, strict=True):
            used += new - old if new >= old else new - old + most
        return used / 1e6

    @staticmethod
    def _number(path: str) -> int | None:
        try:
            with open(path, encoding="ascii") as file:
                return int(file.read())
        except (OSError, ValueError):
            return None


def arena_held(trace: str) -> int | None:
    """The most any arena held, from ONNX Runtime's profile; None where this version does not write it."""
    with open(trace, encoding="utf-8") as file:
        events = json.load(file)
    held: dict[str, int] = {}
    for event in events:
        arguments = event.get("args", {})
        if "mem_arena_held" in arguments:
            provider = arguments.get("provider", "")
            held[provider] = max(held.get(provider, 0), int(arguments["mem_arena_held"]))
    return sum(held.values()) if held else None


def _feeds(numpy: Any, request: dict[str, Any]) -> list[list[tuple[int, dict[str, Any]]]]:
    """Every set of inputs, as the calls of one run: which file, and its inputs."""
    with numpy.load(request["feeds"], allow_pickle=False) as file:
        arrays = {key: file[key] for key in file.files}
    return [
        [(place, {name: arrays[key] for name, key in names.items()}) for place, names in calls]
        for calls in request["sets"]
    ]


def _one_run(sessions: list[Any], calls: list[tuple[int, dict[str, Any]]]) -> Callable[[], None]:
    steps = [(sessions[place].run, feeds) for place, feeds in calls]

    def one() -> None:
        for run, feeds in steps:
            run(None, feeds)

    return one


def _set_limit(request: dict[str, Any]) -> dict[str, Any] | None:
    """Cap what may still be reserved, so that what is resident now plus that is the device's memory.

    Raises:
        MemoryError: ONNX Runtime alone does not fit.
    """
    wanted, kind = request["memory_bytes"], request["enforce"]
    if wanted is None or kind in ("resident", "cgroup"):  # those are enforced from outside
        return None
    found = memory()
    room = wanted - found["rss"]
    if room <= 0:
        raise MemoryError(
            f"ONNX Runtime, NumPy and the inputs alone hold {found['rss'] / 1e6:.0f} MB of the {wanted / 1e6:.0f} MB"
        )
    # A thread's stack is reserved whole but hardly touched; it would eat the room of the model.
    stack = resource.getrlimit(resource.RLIMIT_STACK)[0]
    stack = 8 << 20 if stack in (resource.RLIM_INFINITY, 0) else stack
    stacks = max((request["threads"] or os.cpu_count() or 1) - 1, 0) * stack * len(request["models"])
    which, used = {
        "data": (resource.RLIMIT_DATA, found["data"]),
        "address_space": (resource.RLIMIT_AS, found["size"]),
    }[kind]
    hard = resource.getrlimit(which)[1]
    limit = used + room + stacks
    if hard != resource.RLIM_INFINITY:
        limit = min(limit, hard)
    resource.setrlimit(which, (limit, hard))
    return {"kind": kind, "bytes": limit, "room": room}


def _session(onnxruntime: Any, request: dict[str, Any], place: int) -> Any:
    """As `pytest_onnxprep.runtime.session.make_session` does; a test holds the two together."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = _FATAL_ONLY
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.inter_op_num_threads = 1
    if request["threads"] is not None:
        options.intra_op_num_threads = request["threads"]
    for library in request.get("custom_ops", ()):
        options.register_custom_ops_library(library)
    if request["profile"]:
        options.enable_profiling = True
        options.profile_file_prefix = f"{request['profile']}-{place}"
    wanted, cpu = request["provider"], "CPUExecutionProvider"
    session = onnxruntime.InferenceSession(
        request["models"][place], sess_options=options, providers=[wanted] if wanted == cpu else [wanted, cpu]
    )
    if wanted not in session.get_providers():
        raise RuntimeError(f"ONNX Runtime could not start {wanted} and would run on {session.get_providers()[0]}")
    return session


def _timing(run: Callable[[], None], request: dict[str, Any], energy: Energy) -> dict[str, Any]:
    """Warm up, then run for the number of times and the time asked for."""
    clock = time.perf_counter_ns
    # The second run of a size plans its memory, and the arena grows for the plan: it belongs to the warm-up.
    for _ in range(request["warmup"]):
        run()
    samples: list[int] = []
    shortest = round(request["min_time_s"] * 1e9)
    joules = energy.read()
    before = clocks()
    end = before[0] + shortest
    while len(samples) < request["runs"] or (clock() < end and len(samples) < _MOST_SAMPLES):
        started = clock()
        run()
        samples.append(clock() - started)
    found: dict[str, Any] = since(before)
    found["energy_j"] = energy.between(joules, energy.read())
    found["samples_s"] = [nanoseconds / 1e9 for nanoseconds in samples]
    return found


if __name__ == "__main__":
    # Past the interpreter's own shutdown: what a library does when it is unloaded is not the model's.
    status = main(sys.argv[1], int(sys.argv[2]))
    sys.stdout.flush()
    os._exit(status)
