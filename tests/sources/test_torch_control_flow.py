"""torch.cond and its like compile themselves: looking at them must not keep the model from running afterwards."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from pytest_onnxprep.checks.prepare import build_signature  # noqa: E402
from pytest_onnxprep.sources.load import load_source  # noqa: E402
from pytest_onnxprep.sources.trace import DEFAULT  # noqa: E402
from pytest_onnxprep.spec.export_request import read_export  # noqa: E402


class Cond(torch.nn.Module):
    """A branch by value."""

    def forward(self, x):
        return torch.cond(x.max() > 0, lambda x: x * 2, lambda x: x - 1, (x,))


def test_in_float64_and_traced():
    """Both see through the branch, and other sizes run as before."""
    source = load_source(Cond)
    signature = build_signature(source, read_export(Cond, inputs={"x": "float32[rows, 4]"}))
    feeds = {"x": np.full((2, 4), 3, "float32")}
    source.run(feeds, signature)
    double = source.in_double(signature)

    wide = double(feeds)
    assert wide is not None
    assert wide["output"].dtype == np.float64
    assert (wide["output"] == 6).all()
    assert source.trace(feeds, signature, DEFAULT).complete
    assert (source.run({"x": np.full((5, 4), -1, "float32")}, signature)["output"] == -2).all()
