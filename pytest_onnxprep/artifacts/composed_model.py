"""Several ONNX files that answer as one: what a pipeline, an ensemble or a set of buckets is to the checks."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np

from pytest_onnxprep.artifacts.onnx_model import OnnxModel
from pytest_onnxprep.errors import OnnxPrepError
from pytest_onnxprep.runtime.session import provider_name
from pytest_onnxprep.spec.signature import Signature
from pytest_onnxprep.spec.variant import Variant

if TYPE_CHECKING:
    from pytest_onnxprep.sources.base import Source

Arrays = Mapping[str, np.ndarray]
#: ``(name of a part, its inputs) -> its outputs``.
RunPart = Callable[[str, Arrays], dict[str, np.ndarray]]


class Explanation(NamedTuple):
    """What a composed model has to say of a failure of the whole: its rows, and a half-sentence for the summary."""

    rows: list[tuple[str, str]]
    summary: str = ""


class Composition(Protocol):
    """How the parts make one answer."""

    #: ``pipeline``, ``ensemble`` or ``bucketed model``, for messages.
    kind: str

    def answer(self, feeds: Arrays, run: RunPart) -> dict[str, np.ndarray]:
        """The outputs, of the parts that ``run`` runs."""

    def answer_in_double(self, feeds: Arrays, run: RunPart) -> dict[str, np.ndarray] | None:
        """The same in float64; None where that cannot be done."""

    def explain(self, model: ComposedModel, feeds: Arrays, expected: Arrays) -> Explanation:
        """Why the whole is not what it should be, where every part is."""


class _Named(NamedTuple):
    name: str


class ComposedSession:
    """Answers ``run`` as an ``InferenceSession`` does, with a session for every part.

    Attributes:
        spent_ns: part -> what each of its calls took, nanoseconds.
    """

    def __init__(self, model: ComposedModel, sessions: Mapping[str, Any]) -> None:
        self._composition = model.composition
        self._inputs = [_Named(name) for name in model.signature.inputs]
        self._outputs = [_Named(name) for name in model.output_names]
        self._provider = model.provider
        self._options: Any = None
        self._runs = {
            name: (session.run, [output.name for output in session.get_outputs()]) for name, session in sessions.items()
        }
        self.spent_ns: dict[str, list[int]] = {name: [] for name in sessions}

    def run(self, names: Sequence[str] | None, feeds: Arrays, options: Any = None) -> list[np.ndarray]:
        """The outputs named, in that order; None is all of them."""
        self._options = options
        found = self._composition.answer(feeds, self._run_part)
        return [found[name] for name in names or [output.name for output in self._outputs]]

    def _run_part(self, name: str, feeds: Arrays) -> dict[str, np.ndarray]:
        run, outputs = self._runs[name]
        started = time.perf_counter_ns()
        values = run(outputs, feeds, self._options)
        self.spent_ns[name].append(time.perf_counter_ns() - started)
        return dict(zip(outputs, values, strict=True))

    def get_inputs(self) -> list[_Named]:
        """Objects with a ``name``."""
        return self._inputs

    def get_outputs(self) -> list[_Named]:
        """Objects with a ``name``."""
        return self._outputs

    def get_providers(self) -> list[str]:
        """The parts' provider."""
        return [provider_name(self._provider)]


class ComposedModel(OnnxModel):
    """Several files that answer as one.

    ``stages`` (of a pipeline), ``members`` (of an ensemble) and ``buckets`` are its parts, each an `OnnxModel`. It has
    no file of its own: sizes and operators are those of all parts together, ``session`` runs the whole.
    """

    def __init__(
        self,
        composition: Composition,
        parts: Mapping[str, OnnxModel],
        signature: Signature,
        source: Source,
        variant: Variant,
        provenance: Mapping[str, Any],
        *,
        provider: str | None = None,
    ) -> None:
        self.composition = composition
        self.parts = parts
        self.signature = signature
        self.source = source
        self.variant = variant
        self.provenance = provenance
        self.provider = provider
        self.key = ""
        self.cached = all(part.cached for part in parts.values())

    @property
    def stages(self) -> Mapping[str, OnnxModel]:
        """The exported parts by name, in order; also called ``members`` and ``buckets``."""
        return self.parts

    members = buckets = stages

    @property
    def path(self) -> Path:  # type: ignore[override]
        """There is none."""
        raise self._has_no("file", "path")

    @property
    def graph_proto(self) -> Any:
        """There is none."""
        raise self._has_no("graph", "graph_proto")

    @property
    def proto(self) -> Any:
        """There is none."""
        raise self._has_no("graph", "proto")

    def refusal(self, what: str, why: str, way_out: str) -> OnnxPrepError:
        """The error of something that takes one file.

        Args:
            what: as the user wrote it.
            why: goes on after ``has several files (...)``.
            way_out: what to do instead.
        """
        return OnnxPrepError(
            f"{what}: the {self.composition.kind} has several files ({', '.join(self.parts)}), {why}; {way_out}"
        )

    def show(self, *, browse: bool = True, port: int | None = None) -> str:
        """There is no file to show.

        Raises:
            OnnxPrepError: always; it names what to call.
        """
        raise self._has_no("file", f"show(browse={browse}{'' if port is None else f', port={port}'})")

    def _has_no(self, what: str, attribute: str) -> OnnxPrepError:
        first = next(iter(self.parts), "")
        return OnnxPrepError(
            f"a {self.composition.kind} has no {what} of its own, which this takes; its parts have: "
            f"onnx_model.stages[{first!r}].{attribute} (parts: {', '.join(self.parts)})"
        )

    @property
    def custom_ops(self) -> tuple[str, ...]:
        """Those of all parts together."""
        return tuple(dict.fromkeys(library for part in self.parts.values() for library in part.custom_ops))

    def calls(self, feeds: Arrays) -> list[tuple[str, dict[str, np.ndarray]]]:
        """What one run of the whole calls: parts in order, each with the inputs that reach it; a loop's body often.

        Raises:
            OnnxPrepError: the whole does not run on these inputs.
        """
        made: list[tuple[str, dict[str, np.ndarray]]] = []

        def run(name: str, inputs: Arrays) -> dict[str, np.ndarray]:
            made.append((name, dict(inputs)))
            return self.parts[name].run(inputs)

        try:
            self.composition.answer(feeds, run)
        except OnnxPrepError:
            raise
        except Exception as error:
            at = f", in {made[-1][0]!r}" if made else ""
            words = " ".join(str(error).split())[:300]
            raise OnnxPrepError(f"{self.source.label} does not run at these sizes{at}: {words}") from error
        return made

    @cached_property
    def session(self) -> ComposedSession:
        """Runs the whole, like an ``InferenceSession``."""
        return ComposedSession(self, {name: part.session for name, part in self.parts.items()})

    def open_session(self, *, provider: str | None = None, threads: int | None = None) -> ComposedSession:
        """See `OnnxModel.open_session`: a new session for every part."""
        wanted = provider or self.provider
        return ComposedSession(
            self,
            {name: part.open_session(provider=wanted, threads=threads) for name, part in self.parts.items()},
        )

    def in_double(self) -> Any:
        """See `OnnxModel.in_double`."""
        return _DoubleParts(self)

    @cached_property
    def opset(self) -> int:
        """The newest of the parts'."""
        return max(part.opset for part in self.parts.values())

    @cached_property
    def operators(self) -> Counter[str]:
        """Those of all parts together."""
        return sum((part.operators for part in self.parts.values()), Counter())

    @cached_property
    def weights_bytes(self) -> int:
        """Bytes of all initializers of all parts."""
        return sum(part.weights_bytes for part in self.parts.values())

    @cached_property
    def files(self) -> list[Path]:
        """The files of all parts, each once."""
        return list(dict.fromkeys(path for part in self.parts.values() for path in part.files))

    @cached_property
    def output_names(self) -> list[str]:
        """Names of the answer."""
        return list(self.signature.outputs or {})

    def describe(self) -> DescribedParts:  # type: ignore[override]  # several files instead of one
        """What the files hold, part by part: print it, or take ``to_json()``."""
        return DescribedParts({name: _described(part) for name, part in self.parts.items()})

    def explain(self, feeds: Arrays, expected: Arrays) -> Explanation:
        """Why the whole fails where every part passes."""
        return self.composition.explain(self, feeds, expected)

    def __repr__(self) -> str:
        return f"ComposedModel({self.source.label}, {self.variant.id}, {', '.join(self.parts)})"


class DescribedParts:
    """The descriptions of several files."""

    def __init__(self, parts: Mapping[str, Any]) -> None:
        self.parts = parts

    def to_json(self) -> dict[str, Any]:
        """Part -> its description."""
        return {name: part.to_json() if hasattr(part, "to_json") else part for name, part in self.parts.items()}

    def __str__(self) -> str:
        return "\n\n".join(f"{name}\n{part}" for name, part in self.parts.items())


def _described(part: OnnxModel) -> Any:
    describe = getattr(part, "describe", None)
    if describe is not None:
        return describe()
    return {"opset": part.opset, "nodes": part.node_count, "operators": dict(part.operators.most_common())}


class _DoubleParts:
    """The parts' graphs in float64, put together."""

    def __init__(self, model: ComposedModel) -> None:
        self._composition = model.composition
        self._parts = model.parts
        self._graphs: dict[str, Any] = {}

    def run(self, feeds: Arrays) -> dict[str, np.ndarray] | None:
        """The outputs in float64, or None."""
        return self._composition.answer_in_double(feeds, self._run_part)

    def _run_part(self, name: str, feeds: Arrays) -> dict[str, np.ndarray]:
        if name not in self._graphs:
            self._graphs[name] = self._parts[name].in_double()
        outputs: dict[str, np.ndarray] | None = self._graphs[name].run(feeds)
        if outputs is None:
            raise LookupError(name)
        return outputs
