"""What a search found, as plain data."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

#: Region members named in full on one screen.
_SHOWN = 6


@dataclass(frozen=True)
class Localisation:
    """Where a failure arose. Every field that could not be found out is empty.

    Attributes:
        blame: ``converter``, ``optimiser``, ``kernel``, or empty.
        why: what the blame rests on.
        node: name of the first node that diverges.
        op_type: its operator.
        output: the tensor it writes.
        layer: the framework layer it came from, ``encoder.norm (LayerNorm)``.
        source_line: the user's line, ``model.py:41  x = self.norm(x)``.
        region: names of the nodes the culprit is surely among, the named one included.
        hint: what is wrong with it, where that is known.
        max_abs: error of the tensor, where the framework's own value is known.
        expected: the framework's dtype and shape there.
        actual: the ONNX file's.
        subgraph: the smallest model that still shows it.
        limits: what could not be looked at, and why.
        seconds: time taken.
    """

    blame: str = ""
    why: str = ""
    node: str = ""
    op_type: str = ""
    output: str = ""
    layer: str = ""
    source_line: str = ""
    region: tuple[str, ...] = ()
    hint: str = ""
    max_abs: float | None = None
    expected: str = ""
    actual: str = ""
    subgraph: Path | None = None
    limits: str = ""
    seconds: float = 0.0

    @property
    def found(self) -> bool:
        """Whether a node is named."""
        return bool(self.node)

    def to_json(self) -> dict[str, Any]:
        """Plain data for the report; what is not known is left out."""
        known = {
            "blame": self.blame,
            "why": self.why,
            "first_divergent_node": self.node,
            "op_type": self.op_type,
            "tensor": self.output,
            "layer": self.layer,
            "source_line": self.source_line,
            "region": list(self.region),
            "hint": self.hint,
            "max_abs": self.max_abs,
            "expected": self.expected,
            "actual": self.actual,
            "subgraph": None if self.subgraph is None else str(self.subgraph),
            "limits": self.limits,
        }
        found = {name: value for name, value in known.items() if value not in ("", None, [])}
        return {**found, "seconds": round(self.seconds, 3)}

    def rows(self) -> list[tuple[str, str]]:
        """Rows of the failure message."""
        rows = []
        if self.node:
            rows.append(("first divergence", f"{self.node} ({self.op_type}) -> {self.output!r}{self._error()}"))
        if self.hint:
            rows.append(("what is wrong", self.hint))
        others = [name for name in self.region if name != self.node]
        if others:
            more = f" and {len(others) - _SHOWN} more" if len(others) > _SHOWN else ""
            rows.append(("or one of", ", ".join(others[:_SHOWN]) + more))
        if self.layer or self.source_line:
            rows.append(("layer", "   ".join(part for part in (self.layer, self.source_line) if part)))
        if self.blame:
            rows.append(("blame", f"{self.blame}: {self.why}"))
        elif self.why:
            rows.append(("blame", f"not settled: {self.why}"))
        if self.subgraph is not None:
            rows.append(("sub-graph", str(self.subgraph)))
        if self.limits:
            rows.append(("not looked at", self.limits))
        return rows

    def _error(self) -> str:
        if self.expected and self.actual and self.expected != self.actual:
            return f", {self.actual} where the framework has {self.expected}"
        return f", max |error| {self.max_abs:.3g}" if self.max_abs is not None else ""
