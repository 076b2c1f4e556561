"""What an ONNX file holds, as plain data: it prints well, and goes through JSON and back."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

#: Lines and characters that ``str()`` gives to what can be long.
_MOST_LINES = 12
_WIDTH = 100

Dims = tuple[int | str | None, ...]


@dataclass(frozen=True)
class TensorDescription:
    """One input, output or initializer.

    Args:
        name: in the graph.
        dtype: as numpy calls it (``string``, ``bfloat16``, ...); of anything but a tensor ``sequence(float32)``.
        shape: sizes, names of dims, and None for nameless ones; None where the rank is unknown.
        bytes: of an initializer.
    """

    name: str
    dtype: str
    shape: Dims | None
    bytes: int | None = None

    def __str__(self) -> str:
        dims = "..." if self.shape is None else ", ".join("?" if dim is None else str(dim) for dim in self.shape)
        return f"{self.name}: {self.dtype}[{dims}]"

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        found = {"name": self.name, "dtype": self.dtype, "shape": None if self.shape is None else list(self.shape)}
        return found if self.bytes is None else {**found, "bytes": self.bytes}


@dataclass(frozen=True)
class Weights:
    """All initializers of one dtype."""

    dtype: str
    count: int
    bytes: int


@dataclass(frozen=True)
class Coverage:
    """How much onnx's shape inference knows of what the graph's nodes write.

    Args:
        tensors: tensors that the nodes of the main graph write.
        typed: of these with a known dtype.
        ranked: of these with a known rank.
        sized: of these with a number or a declared name for every dim.
        problem: why shape inference gave up, or an empty string.
    """

    tensors: int
    typed: int
    ranked: int
    sized: int
    problem: str = ""

    @property
    def share(self) -> float:
        """Share of tensors whose rank is known; 1 of none."""
        return self.ranked / self.tensors if self.tensors else 1.0


@dataclass(frozen=True)
class ModelDescription:
    """What `OnnxModel.describe` finds; ``print`` it, or take `to_json`.

    Args:
        ir_version: of the file format.
        producer: name and version of the program that wrote the file.
        opsets: domain -> version; ONNX's own domain is ``ai.onnx``.
        inputs: of the graph, without initializers that are listed there too.
        outputs: of the graph.
        metadata: ``metadata_props``.
        operators: name -> count, most frequent first; subgraphs and functions included.
        initializers: by dtype, largest first; subgraphs included.
        largest: the largest initializers.
        coverage: what shape inference knows.
        custom_domains: domain outside the ONNX standard -> operator -> count.
        functions: ``domain.name`` of every model-local function -> its number of nodes.
        external_files: file name, relative to the model's folder -> bytes.
        size_bytes: the file and its external data.
    """

    ir_version: int
    producer: str
    opsets: Mapping[str, int]
    inputs: tuple[TensorDescription, ...]
    outputs: tuple[TensorDescription, ...]
    metadata: Mapping[str, str]
    operators: Mapping[str, int]
    initializers: tuple[Weights, ...]
    largest: tuple[TensorDescription, ...]
    coverage: Coverage
    custom_domains: Mapping[str, Mapping[str, int]]
    functions: Mapping[str, int]
    external_files: Mapping[str, int]
    size_bytes: int

    @property
    def node_count(self) -> int:
        """Number of nodes, subgraphs and functions included."""
        return sum(self.operators.values())

    @property
    def weights_bytes(self) -> int:
        """Bytes of all initializers."""
        return sum(weights.bytes for weights in self.initializers)

    def to_json(self) -> dict[str, Any]:
        """Plain data, as in the figures of the JSON report."""
        return {
            "ir_version": self.ir_version,
            "producer": self.producer,
            "opsets": dict(self.opsets),
            "inputs": [tensor.to_json() for tensor in self.inputs],
            "outputs": [tensor.to_json() for tensor in self.outputs],
            "metadata": dict(self.metadata),
            "nodes": self.node_count,
            "operators": dict(self.operators),
            "initializers": [{"dtype": w.dtype, "count": w.count, "bytes": w.bytes} for w in self.initializers],
            "largest_initializers": [tensor.to_json() for tensor in self.largest],
            "value_info": {
                "tensors": self.coverage.tensors,
                "typed": self.coverage.typed,
                "ranked": self.coverage.ranked,
                "sized": self.coverage.sized,
                "coverage": round(self.coverage.share, 4),
                **({"problem": self.coverage.problem} if self.coverage.problem else {}),
            },
            "custom_domains": {domain: dict(counts) for domain, counts in self.custom_domains.items()},
            "functions": dict(self.functions),
            "external_files": dict(self.external_files),
            "size_bytes": self.size_bytes,
        }

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> ModelDescription:
        """What `to_json` was made of.

        Raises:
            KeyError: something is missing.
            TypeError: something has another form.
        """
        known = found["value_info"]
        return cls(
            ir_version=found["ir_version"],
            producer=found["producer"],
            opsets=found["opsets"],
            inputs=_tensors(found["inputs"]),
            outputs=_tensors(found["outputs"]),
            metadata=found["metadata"],
            operators=found["operators"],
            initializers=tuple(Weights(**weights) for weights in found["initializers"]),
            largest=_tensors(found["largest_initializers"]),
            coverage=Coverage(
                known["tensors"], known["typed"], known["ranked"], known["sized"], known.get("problem", "")
            ),
            custom_domains=found["custom_domains"],
            functions=found["functions"],
            external_files=found["external_files"],
            size_bytes=found["size_bytes"],
        )

    def __str__(self) -> str:
        return "\n".join(f"{head:<13} {line}" for head, line in self._lines())

    def _lines(self) -> Iterator[tuple[str, str]]:
        """Pairs of a heading, empty where it is the one above, and a line."""
        opsets = ", ".join(f"{domain} {version}" for domain, version in self.opsets.items())
        yield (
            "file",
            f"IR version {self.ir_version}, {_bytes(self.size_bytes)}, written by {self.producer or 'unknown'}",
        )
        yield "opsets", opsets or "none"
        yield from _block("inputs", [str(tensor) for tensor in self.inputs])
        yield from _block("outputs", [str(tensor) for tensor in self.outputs])
        counted = ", ".join(f"{name} {count}" for name, count in self.operators.items())
        yield from _block("operators", _wrapped(f"{self.node_count} nodes: {counted}" if counted else "0 nodes"))
        kinds = "; ".join(f"{w.count} {w.dtype} {_bytes(w.bytes)}" for w in self.initializers)
        yield "initializers", kinds or "none"
        if len(self.largest) > 1:
            shown = (f"{tensor} {_bytes(tensor.bytes or 0)}" for tensor in self.largest)
            yield from _block("largest", list(shown))
        known = self.coverage
        problem = f" (shape inference: {known.problem})" if known.problem else ""
        yield (
            "value info",
            f"of {known.tensors} tensors {known.typed} typed, {known.ranked} with their rank, "
            f"{known.sized} with every size{problem}",
        )
        for domain, counts in self.custom_domains.items():
            listed = ", ".join(f"{name} {count}" for name, count in counts.items())
            yield "custom domain", f"{domain}: {listed}"
        yield from _block("functions", [f"{name} ({count} nodes)" for name, count in self.functions.items()])
        yield from _block("external", [f"{name} {_bytes(size)}" for name, size in self.external_files.items()])
        yield from _block("metadata", [f"{key} = {value}" for key, value in self.metadata.items()])


def _tensors(found: Any) -> tuple[TensorDescription, ...]:
    return tuple(
        TensorDescription(
            one["name"], one["dtype"], None if one["shape"] is None else tuple(one["shape"]), one.get("bytes")
        )
        for one in found
    )


def _bytes(size: int) -> str:
    for unit, scale in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if size >= scale:
            return f"{size / scale:.3g} {unit}"
    return f"{size} B"


def _block(head: str, lines: list[str]) -> Iterator[tuple[str, str]]:
    left = len(lines) - _MOST_LINES
    shown = lines if left <= 0 else [*lines[:_MOST_LINES], f"... and {left} more"]
    for index, line in enumerate(shown):
        yield "" if index else head, line if len(line) <= _WIDTH + 20 else f"{line[:_WIDTH]}..."


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(text, _WIDTH, break_long_words=False)
