"""``--onnxprep-profile``: where the time goes, by operator, node and layer. A measurement; it never fails."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from pytest_onnxprep.artifacts.composed_model import ComposedModel
from pytest_onnxprep.artifacts.onnx_model import OnnxModel
from pytest_onnxprep.checks.case import Case
from pytest_onnxprep.checks.fresh import nbytes
from pytest_onnxprep.checks.profile_parts import merged
from pytest_onnxprep.errors import Finding, OnnxPrepError
from pytest_onnxprep.fuzz.example import Maker
from pytest_onnxprep.localise.by_value import layers_by_value
from pytest_onnxprep.localise.optimised import Origins, Traced
from pytest_onnxprep.runtime.profile import Event, NodeTime, Profile, profile
from pytest_onnxprep.spec.profile_request import ProfileRequest
from pytest_onnxprep.spec.verdict import CheckResult, Verdict

#: What a failing check is raised as: there is nothing to fail.
FINDING = Finding
#: Runs kept in the trace file, the last ones: a hundred runs of a large graph are no pleasure to scroll through.
TRACE_RUNS = 10
#: A share below this is no news in the summary.
_TOLD = 0.005

#: Share of the time without a layer above which the framework is asked.
_UNEXPLAINED = 0.1

Placed = list[tuple[NodeTime, Traced]]


def run(case: Case) -> CheckResult:
    """Profile the file at the sizes asked for, and leave the trace where the figures say.

    Raises:
        OnnxPrepError: the model does not run, or the trace cannot be written.
    """
    request: ProfileRequest = case.request
    model = case.model
    signature = model.signature
    sizes = signature.trace_sizes() if request.at is None else signature.check_sizes(request.at, "latency_budget(at=)")
    maker = Maker(signature)
    feeds = maker.feeds(maker.plain(sizes))
    if not isinstance(model, ComposedModel):
        figures = _profiled(case, model, feeds, "")
        return CheckResult(Verdict.PASS, _summary(figures | {"at": sizes}), {"at": sizes, **figures})
    calls: dict[str, list[dict[str, Any]]] = {}
    for name, inputs in model.calls(feeds):
        calls.setdefault(name, []).append(inputs)
    typical = {name: sorted(made, key=nbytes)[len(made) // 2] for name, made in calls.items()}
    parts = {name: _profiled(case, model.parts[name], inputs, f"-{name}") for name, inputs in typical.items()}
    figures = {"at": sizes, **merged(parts, {name: len(made) for name, made in calls.items()})}
    shares = ", ".join(f"{name} {found['share']:.0%}" for name, found in figures["parts"].items())
    return CheckResult(Verdict.PASS, f"by file: {shares}; {_summary(figures)}", figures)


def _profiled(case: Case, model: OnnxModel, feeds: Mapping[str, Any], suffix: str) -> dict[str, Any]:
    """The figures of one file."""
    request: ProfileRequest = case.request
    provider = request.provider or model.provider
    with tempfile.TemporaryDirectory(prefix="onnxprep-profile-") as folder:
        found = profile(
            model.path,
            feeds,
            Path(folder),
            provider=provider,
            threads=request.threads,
            custom_ops=model.custom_ops,
        )
    placed = _placed(model, found, feeds)
    trace = _write_trace(case, found, placed, suffix)
    return {
        "threads": request.threads,
        "provider": placed[0][0].provider if placed else None,
        "runs": found.runs,
        "warm_up_runs": found.warm_up_runs,
        "run_ms": round(found.run_ms, 6),
        "nodes_ms": round(found.nodes_ms, 6),
        "operators": _grouped(found, ((node.operator, node) for node in found.nodes)),
        "layers": _grouped(found, ((traced.layer, node) for node, traced in placed)),
        "nodes": [_node(found, node, traced) for node, traced in placed],
        "trace": str(trace) if trace else None,
        "trace_runs": min(TRACE_RUNS, found.runs),
    }


def _placed(model: OnnxModel, found: Profile, feeds: Mapping[str, Any]) -> Placed:
    """Each node with where it comes from; where the file leaves much of the time unexplained, values are matched."""
    origins = Origins(model.graph_proto, found.optimised)
    placed = [(node, origins.trace(node.name)) for node in found.nodes]
    unknown = sum(node.ms for node, traced in placed if not (traced.layer or traced.line))
    if unknown <= _UNEXPLAINED * found.nodes_ms or model.source.framework == "onnx":
        return placed
    origins = Origins(model.graph_proto, found.optimised, layers_by_value(model, feeds))
    return [(node, origins.trace(node.name)) for node in found.nodes]


def _grouped(found: Profile, named: Iterable[tuple[str, NodeTime]]) -> list[dict[str, Any]]:
    """Milliseconds, share and number of nodes by name, most first; ``name`` is None where nothing tells it."""
    groups: dict[str, list[NodeTime]] = {}
    for name, node in named:
        groups.setdefault(name, []).append(node)
    rows = [
        {"name": name or None, "ms": round(ms, 6), "share": _share(found, ms), "nodes": len(nodes)}
        for name, nodes in groups.items()
        for ms in [sum(node.ms for node in nodes)]
    ]
    return sorted(rows, key=lambda row: -row["ms"])


def _node(found: Profile, node: NodeTime, traced: Traced) -> dict[str, Any]:
    return {
        "node": node.name,
        "operator": node.operator,
        "ms": round(node.ms, 6),
        "share": _share(found, node.ms),
        "calls": node.calls,
        "layer": traced.layer or None,
        "line": traced.line or None,
        "stands_for": list(traced.origins),
        "known_by": traced.how or None,
        "layer_from": traced.layer_from or None,
        "inputs": list(node.shapes),
    }


def _share(found: Profile, ms: float) -> float:
    return round(ms / found.nodes_ms, 6) if found.nodes_ms else 0.0


def _summary(figures: Mapping[str, Any]) -> str:
    told = [f"{row['name']} {row['share']:.0%}" for row in figures["operators"][:3] if row["share"] >= _TOLD]
    where = ", ".join(f"{name}={size}" for name, size in figures["at"].items()) or "fixed sizes"
    threads = f"{figures['threads']} thread{'s' * (figures['threads'] != 1)}"
    return (
        f"{', '.join(told) or 'no node took a measurable time'} of {figures['nodes_ms']:.3g} ms in nodes; "
        f"{figures['runs']} runs at {where}, {threads}"
    )


def _write_trace(case: Case, found: Profile, placed: Placed, suffix: str) -> Path | None:
    """Write the last runs as Chrome trace events, each node with its layer and what it stands for.

    Raises:
        OnnxPrepError: the folder cannot be written.
    """
    if case.work_folder is None or case.replay_folder is None:
        return None
    path = case.work_folder / "profile" / f"{case.replay_folder.name}{suffix}.json"
    by_key = {(node.name, node.index): (node, traced) for node, traced in placed}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(list(_events(found, by_key))), encoding="utf-8")
    except OSError as error:
        raise OnnxPrepError(f"cannot write the profile {path}: {error.strerror or error}") from error
    return path


def _events(found: Profile, by_key: Mapping[tuple[str, str], tuple[NodeTime, Traced]]) -> Iterator[Event]:
    yield from found.set_up
    for event in (event for run in found.events[-TRACE_RUNS:] for event in run):
        args = dict(event.get("args", {}))
        key = (str(event["name"]).removesuffix("_kernel_time"), str(args.get("node_index", "")))
        if key in by_key:
            traced = by_key[key][1]
            args |= {"layer": traced.layer, "source_line": traced.line, "stands_for": list(traced.origins)}
        yield {**event, "args": args}
