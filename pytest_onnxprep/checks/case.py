"""What a check is handed."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pytest_onnxprep.artifacts.onnx_model import OnnxModel


@dataclass(frozen=True)
class Case:
    """One artifact and one requirement.

    Args:
        model: the exported, validated file.
        request: the parsed mark (`ParityRequest`, `LatencyRequest`, ...).
        examples: number of parity examples where the request names none.
        all_corners: whether all corners are tried even if they are more than that.
        max_s: seconds after which parity starts no further random example.
        samples: the user's own feeds, by name.
        references: folder that keeps the framework's answers between runs; None keeps none.
        replay_folder: where a failing parity check leaves its replay.
        title: the test, for that replay.
        work_folder: what checks leave for the user besides, ``.onnxprep`` below pytest's root.
        timed: whether times may be taken: not where other tests run at the same time.
        rivals: what latency can be compared with (`pytest_onnxprep.checks.rivals.Rivals`), where that is known.
        base: folder that relative paths are taken from, before the working directory.
        extras: what a check leaves behind for the plugin (the latency samples).
    """

    model: OnnxModel
    request: Any
    examples: int = 100
    max_s: float = 20.0
    all_corners: bool = True
    samples: dict[str, Any] = field(default_factory=dict)
    references: Path | None = None
    replay_folder: Path | None = None
    title: str = ""
    work_folder: Path | None = None
    timed: bool = True
    rivals: Any = None
    base: Path | None = None
    extras: dict[str, Any] = field(default_factory=dict)
