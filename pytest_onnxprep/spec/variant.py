"""One cell of the export matrix."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Variant:
    """How a model is exported.

    Args:
        exporter: name of the exporter, or None where only the loaded source can tell.
        opset: the default-domain opset asked for, or None for the exporter's default.
        options: keyword arguments handed to the exporter.
        options_label: distinguishes several ``options`` in test ids.
        asked: exporter and opset as the user wrote them, where ``exporter`` and ``opset`` were filled in by guessing
            the framework before the model was built.
    """

    exporter: str | None
    opset: int | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    options_label: str = ""
    asked: tuple[str | None, int | None] | None = None

    @property
    def id(self) -> str:
        """The variant's part of a test id, such as ``dynamo-opset20``."""
        parts = [self.exporter or "auto"]
        if self.opset is not None:
            parts.append(f"opset{self.opset}")
        if self.options_label:
            parts.append(self.options_label)
        return "-".join(parts)

    def to_json(self) -> dict[str, Any]:
        """The variant as reports show it."""
        shown: dict[str, Any] = {"exporter": self.exporter, "opset": self.opset}
        if self.options:
            shown["options"] = {name: str(value) for name, value in self.options.items()}
        return shown
