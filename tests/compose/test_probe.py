"""What the shapes seen at a joint say about its dims."""

from __future__ import annotations

import pytest

from pytest_onnxprep.compose.probe import observed_dims, probe_sizes
from pytest_onnxprep.errors import SourceError
from pytest_onnxprep.fuzz.example import Maker
from pytest_onnxprep.spec.dims import Dim
from pytest_onnxprep.spec.signature import Signature
from pytest_onnxprep.spec.tensor import TensorSpec

AT = [{"batch": 2, "h": 8}, {"batch": 1, "h": 8}, {"batch": 2, "h": 12}]


def seen(*shapes):
    """One tensor at the sizes above."""
    return {"x": list(zip(AT, shapes, strict=True))}


def dims(found):
    """The text of its dims."""
    return [str(dim) for dim in found["x"]]


def test_axes_are_numbers_dims_or_their_own():
    """What never changes is fixed; what follows a dim is that dim; anything else gets a name."""
    found = observed_dims(seen((2, 5, 8, 4), (1, 5, 8, 4), (2, 5, 12, 6)), {"batch": 0, "h": 0})

    assert dims(found) == ["batch", "5", "h", "x_3"]


def test_axes_that_are_always_equally_long_share_a_name():
    """Also across tensors, so that a tracer may tie them together."""
    shapes = {
        "a.0": list(zip(AT, [(3,), (4,), (5,)], strict=True)),
        "b": list(zip(AT, [(3,), (4,), (5,)], strict=True)),
    }
    found = observed_dims(shapes, {"batch": 0, "h": 0})

    assert [str(dim) for name in shapes for dim in found[name]] == ["a_0_0", "a_0_0"]


def test_a_changing_rank_is_refused():
    """No file has such an input."""
    with pytest.raises(SourceError, match="has 1 or 2 axes"):
        observed_dims(seen((2,), (1, 1), (2,)), {})


def test_probes_tell_the_dims_apart():
    """Each dim changes alone, and the ends of all ranges are among them."""
    spec = TensorSpec("float32", "batch, h, w")
    ranges = {"batch": Dim(1, 4), "h": Dim(32, 96, multiple_of=32), "w": Dim(1, 9)}
    found = probe_sizes(Maker(Signature({"x": spec}, dims=ranges)))

    assert {"batch": 1, "h": 32, "w": 1} in found
    assert {"batch": 4, "h": 96, "w": 9} in found
    for name in ranges:
        alone = [sizes for sizes in found if all(sizes[other] == found[0][other] for other in ranges if other != name)]
        assert len({sizes[name] for sizes in alone}) > 1
    columns = [tuple(sizes[name] for sizes in found) for name in ranges]
    assert len(set(columns)) == 3
