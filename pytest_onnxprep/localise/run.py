"""The one entry: from a failing example to the node, the layer and who is to blame."""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pytest_onnxprep.compare.outputs import Rule, compare_outputs
from pytest_onnxprep.localise.blame import KERNEL, OPTIMISER, Opinions, opinions
from pytest_onnxprep.localise.evidence import Missing, Origin, origin
from pytest_onnxprep.localise.graph import Arrays, Graph
from pytest_onnxprep.localise.kernel import kernel_suspect
from pytest_onnxprep.localise.match import Pool
from pytest_onnxprep.localise.observe import Observation, observe, output_error
from pytest_onnxprep.localise.optimiser import optimiser_suspect
from pytest_onnxprep.localise.probe import Probe
from pytest_onnxprep.localise.repair import Repair
from pytest_onnxprep.localise.result import Localisation
from pytest_onnxprep.localise.shapes import shape_culprit
from pytest_onnxprep.localise.subgraph import write_subgraph
from pytest_onnxprep.localise.suspects import Suspect, suspects
from pytest_onnxprep.sources.trace import Limits, Trace

if TYPE_CHECKING:
    from pytest_onnxprep.artifacts.onnx_model import OnnxModel

#: A tensor is right within this share of its scale.
_TOLERANCE, _HALF_TOLERANCE, _DOUBLE_TOLERANCE, _LOOSEST = 1.5e-5, 5e-3, 3e-14, 5e-4
#: Two tensors no further apart are one value.
_SAME, _DOUBLE_SAME = 1e-7, 1e-15
_ROOM = 10
#: ONNX's numbers of float16 and bfloat16, of float64, and of all that a layer may compute in.
_HALF = (10, 16)
_DOUBLE = 11
_FLOATS = {1, *_HALF, _DOUBLE}
_REPAIR_S = 2.5
_CHANNELS_MOVE = ("keras", "tensorflow")


def localise(
    model: OnnxModel,
    feeds: Arrays,
    expected: Arrays,
    rule: Rule,
    *,
    good_feeds: Arrays | None = None,
    max_s: float = 10.0,
    folder: Path | None = None,
) -> Localisation:
    """Find where a failing example goes wrong. Never raises: what cannot be found out is told in ``limits``.

    Args:
        model: the file and its source.
        feeds: inputs on which it fails.
        expected: the reference's outputs for them.
        rule: what counts as within tolerance.
        good_feeds: inputs on which it passes, where there are any: they show what can be compared.
        max_s: seconds to spend; a little more where a run of the model itself is longer.
        folder: where the sub-graph is written; None for none.
    """
    started = time.monotonic()
    state = {}
    with suppress(Exception):
        state = dict(model.source.state())
    try:
        found = _Search(model, feeds, expected, rule, good_feeds, started, max_s, folder).run()
    except Exception as error:
        found = Localisation(limits=f"the search ended with {type(error).__name__}: {error}"[:300])
    finally:
        with suppress(Exception):
            model.source.restore(state)
    return replace(found, seconds=time.monotonic() - started)


class _Search:
    """One search; see `localise`."""

    def __init__(
        self,
        model: OnnxModel,
        feeds: Arrays,
        expected: Arrays,
        rule: Rule,
        good_feeds: Arrays | None,
        started: float,
        max_s: float,
        folder: Path | None,
    ) -> None:
        self.model = model
        self.feeds = dict(feeds)
        self.expected = expected
        self.rule = rule
        self.good_feeds = good_feeds
        self.deadline = started + max_s
        self.max_s = max_s
        self.target = folder
        self.graph = Graph(model.graph_proto, model.custom_ops)
        self.folder = model.path.resolve().parent

    def right(self, outputs: Mapping[str, np.ndarray]) -> bool:
        """Whether outputs are within tolerance of the reference's."""
        return compare_outputs(self.expected, outputs, self.rule).passed

    def run(self) -> Localisation:
        said = opinions(self.graph, self.folder, self.feeds, self.right, self.max_s * 0.3)
        if said.blame == OPTIMISER:
            return self._optimiser(said)
        probe = Probe(self.graph, self.folder, self.feeds, self.deadline)
        if said.refuser is not None:
            probe.refusals[said.refuser] = said.refusal
        trace = self._trace(frozenset())
        pool = Pool(trace, layouts=self.model.source.framework in _CHANNELS_MOVE)
        tolerance = self._tolerance(said)
        seen = observe(probe, trace, pool, tolerance)
        missing = Missing(trace, pool.covered)
        failing = self._failing(said)
        found = suspects(seen, failing, self._diverged(seen, tolerance))
        chosen, hint = self._choose(seen, probe, found, said)
        if said.blame != KERNEL and not (hint and seen.refusals):
            mended = self._repair(seen, probe, found, chosen, failing)
            chosen, hint = (chosen, hint) if mended in (None, chosen) else (mended, "")
        limits = "; ".join(filter(None, (trace.why, seen.why)))
        if said.blame == KERNEL:
            chosen = kernel_suspect(probe, chosen, found, self.deadline)
        if chosen is None:
            return Localisation(said.blame, said.why, limits=limits or "no tensor differs from the framework's")
        return self._told(seen, missing, probe, chosen, said, Localisation(hint=hint, limits=limits))

    def _choose(self, seen: Observation, probe: Probe, found: list[Suspect], said: Opinions) -> tuple[int | None, str]:
        chosen = found[0].index if found else said.refuser
        if chosen is None:
            return None, ""
        return shape_culprit(seen, probe, chosen)

    def _repair(
        self, seen: Observation, probe: Probe, found: list[Suspect], chosen: int | None, failing: list[str]
    ) -> int | None:
        ends = [self.graph.producer[name] for name in failing if name in self.graph.producer]
        starts = [*seen.refusals, *([] if chosen is None else [chosen])] or ends[:1]
        until = min(self.deadline, time.monotonic() + _REPAIR_S)
        layouts = self.model.source.framework in _CHANNELS_MOVE
        same = _DOUBLE_SAME if self._is_double else _SAME
        repair = Repair(seen, probe, self.expected, failing, self._whole, until, layouts, same)
        mended = repair.culprit(dict.fromkeys([*starts, *(suspect.index for suspect in found)]))
        return ends[0] if mended is None and chosen is None and ends else mended

    def _whole(self, places: frozenset[int]) -> Mapping[int, np.ndarray]:
        return self._trace(places).whole

    def _told(
        self, seen: Observation, missing: Missing, probe: Probe, chosen: int, said: Opinions, known: Localisation
    ) -> Localisation:
        """Fill in what is known of the chosen node."""
        node = self.graph.nodes[chosen]
        outputs = [name for name in node.output if name]
        output = next(iter(outputs), "")
        actual = probe.fetch([output]).get(output)
        came = origin(seen, missing, chosen, actual)
        expected = self._expected(missing.trace, came)
        result = replace(
            known,
            blame=said.blame,
            why=said.why,
            node=self.graph.label(chosen),
            op_type=str(node.op_type),
            output=output,
            layer=came.layer,
            source_line=came.line,
            region=tuple(self.graph.label(index) for index in _around(seen, chosen)),
        )
        if expected is not None and actual is not None:
            # A digest does not tell the widths of floats apart.
            if expected.dtype.kind == "f" and (actual.dtype.kind == "f" or actual.dtype.name == "bfloat16"):
                expected = expected.astype(actual.dtype)
            if expected.size == actual.size and expected.ndim != actual.ndim:  # a product of matrices made flat
                expected = expected.reshape(actual.shape)
            result = replace(result, expected=_kind(expected), actual=_kind(actual), max_abs=_error(expected, actual))
        if chosen in probe.refusals and not result.hint:
            result = replace(result, hint=f"ONNX Runtime: {probe.refusals[chosen][:200]}")
        if self.target is None:
            return result
        wanted = {output: expected} if expected is not None else {}
        title = f"{self.model.source.label}: {result.node} ({result.op_type})"
        with suppress(Exception):
            result = replace(result, subgraph=write_subgraph(probe, [chosen], outputs, wanted, self.target, title))
        return result

    def _expected(self, trace: Trace, came: Origin) -> np.ndarray | None:
        """The framework's whole value there."""
        if came.place is None:
            return None
        value = trace.values[came.place]
        if value.digest.sample.size == value.digest.size and value.digest.kind == "f":
            sample = value.digest.sample
            return (sample if self._is_double else sample.astype(np.float32)).reshape(value.digest.shape)
        if time.monotonic() > self.deadline:
            return None
        whole = self._trace(frozenset({came.place})).whole.get(came.place)
        return whole if whole is not None and whole.shape == value.digest.shape else None

    def _trace(self, keep: frozenset[int]) -> Trace:
        left = max(0.5, (self.deadline - time.monotonic()) / 2)
        try:
            return self.model.source.trace(self.feeds, self.model.signature, Limits(max_s=left, keep=keep))
        except Exception as error:
            return Trace(complete=False, why=f"the framework's trace failed: {type(error).__name__}: {error}"[:200])

    def _tolerance(self, said: Opinions) -> float:
        """What passes for rounding: many times what ONNX Runtime's own optimisations change in the outputs."""
        half = any(value.type.tensor_type.elem_type in _HALF for value in self.graph.proto.graph.value_info)
        half = half or any(array.dtype.itemsize == 2 for array in self.expected.values())
        least = _HALF_TOLERANCE if half else _DOUBLE_TOLERANCE if self._is_double else _TOLERANCE
        noise, error = 0.0, 1.0
        if said.plain:
            with suppress(Exception):
                noise = output_error(said.plain, self.model.run(self.feeds))
                error = output_error(self.expected, said.plain)
        # An optimisation may also undo the fault: what is a fault at the outputs is no rounding before them.
        return float(np.clip(min(_ROOM * noise, error / _ROOM), least, max(least, _LOOSEST)))

    @cached_property
    def _is_double(self) -> bool:
        """Whether the whole model computes in float64: what is a float in its inputs, outputs and weights is one."""
        arrays = [*self.feeds.values(), *self.expected.values()]
        floats = {array.dtype.name for array in arrays if array.dtype.kind == "f"}
        kinds = {weight.data_type for weight in self.graph.initializers.values()} & _FLOATS
        return floats == {"float64"} and kinds <= {_DOUBLE}

    def _failing(self, said: Opinions) -> list[str]:
        if not said.plain:
            return list(self.graph.outputs)
        compared = compare_outputs(self.expected, said.plain, self.rule)
        wrong = [difference.output for difference in compared.differences if not difference.matches]
        return wrong or [miss.output for miss in compared.misses] or list(self.graph.outputs)

    def _diverged(self, seen: Observation, tolerance: float) -> set[str]:
        """Tensors that are the framework's on the passing example and not on this one."""
        if self.good_feeds is None or time.monotonic() > self.deadline:
            return set()
        with suppress(Exception):
            trace = self.model.source.trace(self.good_feeds, self.model.signature, Limits(max_s=1.0))
            probe = Probe(self.graph, self.folder, dict(self.good_feeds), self.deadline)
            pool = Pool(trace, layouts=self.model.source.framework in _CHANNELS_MOVE)
            good = observe(probe, trace, pool, tolerance)
            telling = {name: match.place for name, match in good.matches.items() if match.strong}
            seen.aligned.update(telling)
            return {name for name in telling if name not in seen.matches}
        return set()

    def _optimiser(self, said: Opinions) -> Localisation:
        return optimiser_suspect(self.model, self.graph, self.folder, self.feeds, said, self.deadline)


def _around(seen: Observation, chosen: int) -> list[int]:
    """The chosen node and the unproven ones in a row before and behind it: it may be one of them, too."""
    graph = seen.graph
    doubtful = {
        index
        for index in (chosen, *graph.before(chosen), *graph.after(chosen))
        if index == chosen or not (seen.proven(index) or index in graph.constant)
    }
    return sorted(doubtful)


def _error(expected: np.ndarray, actual: np.ndarray) -> float | None:
    if expected.shape != actual.shape or not expected.size:
        return None
    with np.errstate(invalid="ignore"):
        difference = np.abs(expected.astype(np.float64) - actual.astype(np.float64))
    return float(np.nanmax(difference)) if np.isfinite(difference).any() else None


def _kind(array: np.ndarray) -> str:
    return f"{array.dtype.name}{list(array.shape)}"
