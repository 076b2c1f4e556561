"""Datasets of ``accuracy_budget`` in files: how their rows reach the model."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from pytest_onnxprep import OnnxPrepError, Signature, TensorSpec
from pytest_onnxprep.checks.accuracy import _batches
from pytest_onnxprep.sources.turn import Turn


def dataset(folder: Path, rows: int) -> str:
    """A file of so many rows."""
    np.savez(folder / "validation.npz", x=np.zeros((rows, 3), np.float32), labels=np.arange(rows))
    return "validation.npz"


def model(rows: Any) -> Any:
    """What a model has to say of its batches."""
    return SimpleNamespace(signature=Signature({"x": TensorSpec("float32", (rows, 3))}), layout=Turn.of({}))


@pytest.mark.parametrize(("batch", "sizes"), [(4, [4, 4]), ("batch", [8]), (1, [1] * 8)])
def test_rows_come_in_the_batches_the_model_takes(tmp_path: Path, batch: Any, sizes: list[int]) -> None:
    """As many at once as a fixed batch says, or as the range of its dim allows."""
    found = list(_batches(dataset(tmp_path, 8), model(batch), tmp_path))

    assert [len(feeds["x"]) for feeds, _ in found] == sizes
    assert np.concatenate([labels for _, labels in found]).tolist() == list(range(8))


def test_rows_left_over_by_a_fixed_batch_are_told(tmp_path: Path) -> None:
    """A model of four rows cannot take the last one alone: the dataset is at fault, not the file."""
    with pytest.raises(OnnxPrepError, match="holds 9 labels, and the model takes exactly 4 rows at once"):
        list(_batches(dataset(tmp_path, 9), model(4), tmp_path))
