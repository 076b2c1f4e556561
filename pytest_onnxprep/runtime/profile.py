"""ONNX Runtime's profiler: what each node of the optimised graph takes, warm-up excluded."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pytest_onnxprep.errors import OnnxPrepError
from pytest_onnxprep.runtime.session import CPU, make_session, provider_name

#: Runs before the measured ones: at least the first number, at most the second, and no more once the time is over.
WARM_UP_RUNS = (2, 10)
WARM_UP_S = 1.0
#: The same of the measured runs.
RUNS = (3, 100)
RUNS_S = 2.0
#: The profiler keeps a million events and drops the rest without a word.
MOST_EVENTS = 200_000
_SUFFIX = "_kernel_time"

Event = dict[str, Any]


@dataclass(frozen=True)
class NodeTime:
    """One node of the optimised graph.

    Args:
        name: its name there; not always one of the file's.
        operator: its type there: ``FusedConv`` for a Conv and a Relu.
        index: its number, as the profiler counts.
        ms: median over the runs of the time spent in it, the nodes of its bodies not counted.
        calls: times it ran in one run; more than one within a loop.
        provider: who ran it.
        shapes: of its inputs in the last call as the profiler writes them (``float[1, 8]``), packed weights left out.
    """

    name: str
    operator: str
    index: str
    ms: float
    calls: int
    provider: str
    shapes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Profile:
    """What the profiler saw.

    Args:
        nodes: slowest first.
        run_ms: median of a whole run, the profiler's own work included.
        runs: runs measured.
        warm_up_runs: runs made before and left out.
        optimised: the graph that ran, as an ``onnx.ModelProto``; None where the provider cannot write it.
        events: Chrome trace events of the measured runs, one list a run.
        set_up: the events of loading.
    """

    nodes: tuple[NodeTime, ...]
    run_ms: float
    runs: int
    warm_up_runs: int
    optimised: Any
    events: tuple[tuple[Event, ...], ...]
    set_up: tuple[Event, ...]

    @property
    def nodes_ms(self) -> float:
        """The sum over all nodes: what shares are shares of."""
        return sum(node.ms for node in self.nodes)


def profile(
    path: Path,
    feeds: Mapping[str, Any],
    folder: Path,
    *,
    provider: str | None = None,
    threads: int | None = 1,
    custom_ops: Sequence[str] = (),
) -> Profile:
    """Run a file under ONNX Runtime's profiler.

    Args:
        path: the file.
        feeds: input name -> array.
        folder: an empty folder for what is written on the way.
        provider: execution provider.
        threads: threads of the intra-op pool.
        custom_ops: libraries of custom operators.

    Raises:
        OnnxPrepError: ONNX Runtime cannot run the model on these feeds.
    """

    def open_session(configure: Callable[[Any], None]) -> Any:
        return make_session(path, provider=provider, threads=threads, custom_ops=custom_ops, configure=configure)

    session = _session(open_session, folder, writes=provider_name(provider) == CPU)
    names = [output.name for output in session.get_outputs()]
    try:
        warm_up = _repeat(session, names, feeds, WARM_UP_RUNS, WARM_UP_S)
        session_nodes = _nodes_per_run(folder)
        most = max(RUNS[0], min(RUNS[1], MOST_EVENTS // max(session_nodes, 1)))
        runs = _repeat(session, names, feeds, (RUNS[0], most), RUNS_S)
    except Exception as error:
        raise OnnxPrepError(f"the model cannot be profiled, ONNX Runtime refuses to run it: {error}") from error
    events: list[Event] = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
    return summarise(events, warm_up_runs=warm_up, runs=runs, optimised=_optimised(folder))


def summarise(events: Sequence[Event], *, warm_up_runs: int, runs: int, optimised: Any = None) -> Profile:
    """Turn a trace into times per node; the first runs of it are left out.

    Raises:
        OnnxPrepError: the trace has other runs than were made.
    """
    whole = sorted((event for event in events if event.get("name") == "model_run"), key=_start)
    if len(whole) != warm_up_runs + runs:
        raise OnnxPrepError(
            f"ONNX Runtime's profile has {len(whole)} runs of {warm_up_runs + runs}: its buffer is full; "
            "profile a smaller size"
        )
    measured = whole[warm_up_runs:]
    by_run = _by_run(events, measured)
    return Profile(
        nodes=_node_times(by_run),
        run_ms=statistics.median(event["dur"] for event in measured) / 1e3,
        runs=runs,
        warm_up_runs=warm_up_runs,
        optimised=optimised,
        events=tuple(tuple(group) for group in by_run),
        set_up=tuple(event for event in events if _start(event) < _start(whole[0])),
    )


def _session(open_session: Callable[[Callable[[Any], None]], Any], folder: Path, *, writes: bool) -> Any:
    """A session that profiles, and writes the graph it runs where the provider can."""

    def plain(options: Any) -> None:
        options.enable_profiling = True
        options.profile_file_prefix = str(folder / "trace")

    def writing(options: Any) -> None:
        plain(options)
        options.optimized_model_filepath = str(folder / "optimised.onnx")
        options.add_session_config_entry("session.optimized_model_external_initializers_file_name", "weights.bin")

    if writes:
        with suppress(Exception):  # a graph that cannot be written can still be run
            return open_session(writing)
    return open_session(plain)


def _optimised(folder: Path) -> Any:
    import onnx

    written = folder / "optimised.onnx"
    return onnx.load(str(written), load_external_data=False) if written.exists() else None


def _nodes_per_run(folder: Path) -> int:
    """Events to expect of a run; loops run their bodies several times, for which a hundred is allowed."""
    graph = _optimised(folder)
    if graph is None:
        return 2000
    inner = sum(len(a.g.node) for node in graph.graph.node for a in node.attribute if a.HasField("g"))
    return len(graph.graph.node) + 100 * inner


def _repeat(
    session: Any, names: Sequence[str], feeds: Mapping[str, Any], times: tuple[int, int], limit_s: float
) -> int:
    """Run between so many times, fewer where it takes long; return how many."""
    start = time.perf_counter()
    made = 0
    while made < times[1] and (made < times[0] or time.perf_counter() - start < limit_s):
        session.run(names, feeds)
        made += 1
    return made


def _start(event: Event) -> float:
    return float(event["ts"])


def _by_run(events: Iterable[Event], measured: Sequence[Event]) -> list[list[Event]]:
    """The events within each of the runs."""
    groups: list[list[Event]] = [[] for _ in measured]
    run = 0
    for event in sorted(events, key=_start):
        while run < len(measured) and _start(event) >= _start(measured[run]) + measured[run]["dur"]:
            run += 1
        if run == len(measured):
            break
        if _start(event) >= _start(measured[run]):
            groups[run].append(event)
    return groups


def _node_times(by_run: Sequence[Sequence[Event]]) -> tuple[NodeTime, ...]:
    spent: dict[tuple[str, str, str], list[tuple[float, int]]] = {}
    last: dict[tuple[str, str, str], Event] = {}
    for events in by_run:
        own: dict[tuple[str, str, str], tuple[float, int]] = {}
        for event, ms in _own_times([event for event in events if event.get("cat") == "Node"]):
            key = _key(event)
            before = own.get(key, (0.0, 0))
            own[key] = (before[0] + ms, before[1] + 1)
            last[key] = event
        for key, value in own.items():
            spent.setdefault(key, []).append(value)
    found = []
    for (name, operator, index), values in spent.items():
        # A node that ran in some of the runs only (a branch) took no time in the others.
        times = [ms for ms, _ in values] + [0.0] * (len(by_run) - len(values))
        event = last[name, operator, index]
        calls = round(statistics.median(calls for _, calls in values))
        shapes = tuple(_shape(shape) for shape in event["args"].get("input_type_shape", ()))
        provider = str(event["args"].get("provider", ""))
        found.append(NodeTime(name, operator, index, statistics.median(times), calls, provider, shapes))
    return tuple(sorted(found, key=lambda node: -node.ms))


def _key(event: Event) -> tuple[str, str, str]:
    args = event["args"]
    return str(event["name"]).removesuffix(_SUFFIX), str(args.get("op_name", "?")), str(args.get("node_index", ""))


def _own_times(nodes: Sequence[Event]) -> list[tuple[Event, float]]:
    """Each event with its milliseconds, less those of the events within it: a Loop is not its body."""
    stack: list[tuple[Event, list[float]]] = []
    found: list[tuple[Event, list[float]]] = []
    # Of two that start in the same microsecond the longer holds the other.
    for event in sorted(nodes, key=lambda one: (one["tid"], _start(one), -one["dur"])):
        while stack and not _holds(stack[-1][0], event):
            stack.pop()
        if stack:
            stack[-1][1][0] -= event["dur"]
        entry = (event, [float(event["dur"])])
        found.append(entry)
        if event["args"].get("op_name") in _WITH_BODIES:
            stack.append(entry)
    return [(event, max(own[0], 0.0) / 1e3) for event, own in found]


#: Nothing else runs nodes of its own: two neighbours of less than a microsecond may seem to overlap.
_WITH_BODIES = frozenset({"Loop", "If", "Scan", "SequenceMap", "BeamSearch", "GreedySearch", "Sampling"})


def _holds(outer: Event, inner: Event) -> bool:
    within = _start(inner) + inner["dur"] <= _start(outer) + outer["dur"]
    return bool(outer["tid"] == inner["tid"] and within and _start(inner) >= _start(outer))


def _shape(entry: Mapping[str, Any]) -> str:
    return ", ".join(f"{kind}{list(sizes)}" for kind, sizes in entry.items())
