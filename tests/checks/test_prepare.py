"""Reading the user's own samples and example inputs."""

from __future__ import annotations

import numpy as np
import pytest

from pytest_onnxprep.checks.prepare import example_feeds, load_samples
from pytest_onnxprep.errors import OnnxPrepError
from pytest_onnxprep.spec.export_request import read_export
from pytest_onnxprep.spec.signature import Signature
from pytest_onnxprep.spec.tensor import TensorSpec

SIGNATURE = Signature({"x": TensorSpec("float32", "b, 3"), "n": TensorSpec("int64", "b + 1")})
GOOD = {"x": np.ones((2, 3), "f"), "n": np.arange(3)}


def test_a_factory_of_one_sample():
    """A mapping is one sample."""
    assert list(load_samples(lambda: GOOD, SIGNATURE)) == ["sample 0"]


@pytest.mark.parametrize("kind", [list, tuple, iter])
def test_a_factory_of_several(kind):
    """Lists, tuples and generators of mappings are several."""
    assert list(load_samples(lambda: kind([GOOD, GOOD]), SIGNATURE)) == ["sample 0", "sample 1"]


def test_a_file(tmp_path):
    """An .npz, relative to the test's folder."""
    np.savez(tmp_path / "a.npz", **GOOD)

    found = load_samples("a.npz", SIGNATURE, tmp_path)
    np.testing.assert_array_equal(found["a.npz"]["n"], GOOD["n"])


def test_bfloat16_lies_in_a_file_as_float32(tmp_path):
    """NumPy cannot hold it; numbers that bfloat16 does not have are another dtype."""
    signature = Signature({"x": TensorSpec("bfloat16", "b")})
    np.savez(tmp_path / "a.npz", x=np.float32([1.5, np.nan]))
    np.savez(tmp_path / "wide.npz", x=np.float32([1.001]))

    assert load_samples("a.npz", signature, tmp_path)["a.npz"]["x"].dtype.name == "bfloat16"
    with pytest.raises(OnnxPrepError, match="x is float32"):
        load_samples("wide.npz", signature, tmp_path)


def test_a_folder(tmp_path):
    """All .npz files, in order of their names."""
    for name in ("b", "a"):
        np.savez(tmp_path / f"{name}.npz", **GOOD)

    assert list(load_samples(tmp_path, SIGNATURE)) == ["a.npz", "b.npz"]


def test_an_empty_folder_is_an_error(tmp_path):
    """Nothing to check is not nothing to tell."""
    with pytest.raises(OnnxPrepError, match=r"holds no \.npz"):
        load_samples(tmp_path, SIGNATURE)


def test_none():
    """No samples are no samples."""
    assert load_samples(None, SIGNATURE) == {}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"n": np.arange(4)}, "n axis 0 is 4, declared"),
        ({"x": np.ones((2, 4), "f")}, "x axis 1 is 4, declared 3"),
        ({"x": np.ones((2, 3))}, "float64"),
        ({"x": np.ones(3, "f")}, r"x is float32\[3\]"),
        ({"extra": np.ones(3)}, "needed: x, n"),
    ],
)
def test_what_does_not_fit(change, message):
    """Expressions, sizes, dtypes, ranks and names are checked together."""
    with pytest.raises(OnnxPrepError, match=message):
        load_samples(lambda: GOOD | change, SIGNATURE)


def test_a_missing_input():
    """Every input is needed."""
    with pytest.raises(OnnxPrepError, match="holds x; needed: x, n"):
        load_samples(lambda: {"x": GOOD["x"]}, SIGNATURE)


def test_sizes_must_agree_between_inputs():
    """One name is one size."""
    signature = Signature({"x": TensorSpec("float32", "b"), "y": TensorSpec("float32", "b")})

    with pytest.raises(OnnxPrepError, match="dim b is 2 in one input and 3 in y"):
        load_samples(lambda: {"x": np.ones(2, "f"), "y": np.ones(3, "f")}, signature)


def test_a_lone_number_stays_one():
    """A 0-d sample is not made a vector of one."""
    signature = Signature({"t": TensorSpec("float32", ())})
    found = load_samples(lambda: {"t": np.float32(3)}, signature)

    assert found["sample 0"]["t"].shape == ()


def test_example_arrays_are_what_is_traced():
    """Arrays given as inputs= are the example."""
    request = read_export(None, inputs={"x": np.full((2, 3), 7, "f")})

    assert (example_feeds(request)["x"] == 7).all()


@pytest.mark.parametrize("inputs", [{"x": "float32[b]"}, {"x": "float32[b]", "y": np.ones(2, "f")}])
def test_without_an_array_for_every_input_there_is_no_example(inputs):
    """Half an example is none."""
    assert example_feeds(read_export(None, inputs=inputs)) is None
