"""One mutation applied to one host, as a `Case` that every tool takes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.detection.case import Case
from benchmarks.detection.mutants import KINDS, Model
from benchmarks.detection.mutants.hosts import HOSTS
from benchmarks.detection.values import Draw, make
from pytest_onnxprep.spec.export_request import read_export
from pytest_onnxprep.spec.signature import Signature

SELECTED = Path(__file__).with_name("selected.json")


@dataclass(frozen=True)
class Mutant:
    """A kind of mutation, the host it changes, and the seed that chooses the node."""

    kind: str
    host: str
    seed: int = 0

    @property
    def name(self) -> str:
        """Unique."""
        return f"{self.kind}__{self.host}__{self.seed}".replace("-", "_")

    def apply(self, proto: Any) -> tuple[Any, str] | None:
        """Mutate a sound export, in place; returns it with the name of the node touched, or None."""
        signature = signature_of(HOSTS[self.host])
        traced = make(signature, Draw(signature.trace_sizes(), "plain", 0))
        rng = np.random.default_rng([self.seed, _number(f"{self.kind} {self.host}")])
        node = KINDS[self.kind](Model(proto, traced), rng)
        return None if node is None else (proto, node)

    def case(self, witness: Draw | None = None) -> Case:
        """The mutant as a case."""
        host = HOSTS[self.host]

        def edit(proto: Any) -> Any:
            applied = self.apply(proto)
            assert applied is not None, f"{self.name} does not apply any more"
            return applied[0]

        def feeds() -> Mapping[str, np.ndarray]:
            assert witness is not None
            return make(signature_of(host), witness)

        return replace(
            host, name=self.name, mechanism=self.kind.replace("_", " "), edit=edit, witness=feeds, blame="converter"
        )


def signature_of(host: Case) -> Signature:
    """The declared signature; hosts write all their inputs out."""
    request = read_export(host.model, inputs=host.inputs, dims=dict(host.dims))
    assert request.inputs is not None
    return Signature(request.inputs, None, request.dims)


def selection() -> dict[str, Any]:
    """What `python -m benchmarks.detection.mutants` wrote."""
    if not SELECTED.exists():
        return {"mutants": [], "excluded": []}
    found: dict[str, Any] = json.loads(SELECTED.read_text(encoding="utf-8"))
    return found


def right_nodes(name: str, sound: Path) -> list[str]:
    """The node a mutant touches in a sound export, and its direct neighbours."""
    import onnx

    from benchmarks.detection.mutants import neighbours

    mutant = next(
        m for m in (Mutant(m["kind"], m["host"], m["seed"]) for m in selection()["mutants"]) if m.name == name
    )
    applied = mutant.apply(onnx.load(str(sound)))
    return [] if applied is None else sorted({applied[1], *neighbours(*applied)})


def all_mutants() -> list[Case]:
    """Every selected mutant as a case."""
    return [
        Mutant(m["kind"], m["host"], m["seed"]).case(
            Draw(m["witness"]["sizes"], m["witness"]["kind"], m["witness"]["seed"])
        )
        for m in selection()["mutants"]
    ]


def _number(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=4).digest(), "big")
