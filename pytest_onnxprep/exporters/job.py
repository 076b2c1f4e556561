"""What an exporter is handed, and example inputs to trace with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from pytest_onnxprep.sources.base import Source
from pytest_onnxprep.spec.own_options import OWN_OPTIONS
from pytest_onnxprep.spec.signature import Signature
from pytest_onnxprep.spec.variant import Variant

#: protobuf cannot hold 2 GiB; files are written with external data well before that.
EXTERNAL_DATA_BYTES = 1_500_000_000


@dataclass(frozen=True)
class ExportJob:
    """One export.

    Args:
        source: the loaded model.
        signature: inputs, dims and output names (always given: the source's own where the user declared none).
        variant: exporter, opset and options.
        feeds: example inputs at the trace sizes, by name.
        path: where to write ``model.onnx``.
        notes: what an exporter has to say of the file beside it; goes into the provenance, so JSON-able.
    """

    source: Source
    signature: Signature
    variant: Variant
    feeds: Mapping[str, np.ndarray]
    path: Path
    notes: dict[str, Any] = field(default_factory=dict)

    @property
    def output_names(self) -> list[str]:
        """Declared or natural output names, in order."""
        return list(self.signature.outputs or {})

    def dynamic_axes(self) -> dict[str, dict[int, str]]:
        """Input name -> axis -> the text of its dim, for every axis that is not static."""
        return {
            name: {axis: str(dim) for axis, dim in enumerate(spec.shape) if not dim.is_static}
            for name, spec in self.signature.inputs.items()
        }

    def options_for(
        self, function: Any, reserved: frozenset[str], ours: frozenset[str] = frozenset()
    ) -> dict[str, Any]:
        """The user's ``options=`` checked against what ``function`` takes.

        Args:
            function: of the converter.
            reserved: its arguments that the marks decide.
            ours: options that this exporter's file in the plugin takes itself; they are not returned.

        Raises:
            ExporterError: an option the exporter does not take, or one the plugin sets itself.
        """
        import inspect

        from pytest_onnxprep.errors import ExporterError, closest

        known = {p.name for p in inspect.signature(function).parameters.values() if p.kind != p.VAR_KEYWORD}
        own = OWN_OPTIONS | ours
        accepted = sorted(known - reserved | own)
        handed_on = {name: value for name, value in self.variant.options.items() if name not in own}
        for name in handed_on:
            if name in reserved:
                raise ExporterError(f"option {name!r} of {self.variant.exporter} is set by the plugin from the marks")
            if name not in known:
                raise ExporterError(
                    f"exporter {self.variant.exporter!r} has no option {name!r}{closest(name, accepted)} "
                    f"Accepted: {', '.join(accepted)}."
                )
        return handed_on
