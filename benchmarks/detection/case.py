"""One case of the corpus: a model, how it is exported, and what is known about the result."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Blame = Literal["converter", "optimiser", "kernel"]


@dataclass(frozen=True)
class Case:
    """A bug, or a clean twin of one.

    Attributes:
        name: unique, lower case with underscores; a twin's name ends in ``_clean``.
        framework: ``torch``, ``keras``, ``tensorflow``, ``transformers`` or ``jax``.
        exporter: a name that ``onnx_export(exporter=)`` takes.
        model: factory of the reference, as a user would write it; weights from a fixed seed.
        inputs: as ``onnx_export(inputs=)`` takes it. Value ranges are declared only where a careful user would
            (an index input has a range), never so as to lead to the bug.
        dims: as ``onnx_export(dims=)`` takes it.
        link: the public thread that reports the bug (a twin carries its bug's).
        mechanism: what goes wrong, in a line; for a twin, what it does differently.
        witness: makes feeds that show the bug (bugs only).
        blame: who is at fault (bugs only): a fault that is in the file is the converter's, whichever of its own passes
            made it; ``optimiser`` and ``kernel`` are the runtime's.
        atol: what a careful engineer would write by hand, from the dtype and the depth of the model alone.
        rtol: likewise.
        opset: asked for; None is the exporter's default.
        edit: what a converter of the past did to this graph, applied to today's sound export (a function of the
            ``onnx.ModelProto``, which it may change in place, that returns it); None where today's stack has the bug.
        special_values: NaN and infinities are legal inputs of this model, and the bug needs them.
    """

    name: str
    framework: Literal["torch", "keras", "tensorflow", "transformers", "jax"]
    exporter: str
    model: Callable[[], Any]
    inputs: Mapping[str, Any]
    link: str
    mechanism: str
    dims: Mapping[str, Any] = field(default_factory=dict)
    witness: Callable[[], Mapping[str, Any]] | None = None
    blame: Blame | None = None
    atol: float = 1e-4
    rtol: float = 1e-4
    opset: int | None = None
    edit: Callable[[Any], Any] | None = None
    special_values: bool = False

    @property
    def is_bug(self) -> bool:
        """Whether a tool has to object."""
        return self.witness is not None
