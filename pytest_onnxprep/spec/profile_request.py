"""What ``--onnxprep-profile`` measures of a variant."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class ProfileRequest:
    """One profile.

    Args:
        at: the sizes of the test's latency budget; None where it has none, for the sizes the model is exported at.
        threads: intra-op threads of ONNX Runtime.
        provider: execution provider; None for the run's own.
    """

    at: Mapping[str, int] | None = None
    threads: int = 1
    provider: str | None = None
