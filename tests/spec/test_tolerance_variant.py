"""Tolerances and variants."""

from __future__ import annotations

import json

import pytest

from pytest_onnxprep.spec.errors import SpecError
from pytest_onnxprep.spec.tolerance import EPSILON, Tolerance
from pytest_onnxprep.spec.variant import Variant


@pytest.mark.parametrize("value", [-1e-4, float("nan"), float("inf"), "1e-4", True])
@pytest.mark.parametrize("name", ["atol", "rtol"])
def test_bad_tolerance(name: str, value: object) -> None:
    """What no comparison could use is refused with the argument's name."""
    with pytest.raises(SpecError, match=f"{name} must be a finite number >= 0"):
        Tolerance(**{name: value})  # type: ignore[arg-type]


def test_given_numbers_are_kept() -> None:
    """Given numbers hold for every float dtype and scale, and one alone leaves the other at 0."""
    assert Tolerance(1e-4, 1e-3).resolve("float16", 1e6) == (1e-4, 1e-3)
    assert Tolerance(atol=1e-4).resolve("float32", 1.0) == (1e-4, 0.0)
    assert Tolerance(rtol=1e-3).resolve("float32", 1.0) == (0.0, 1e-3)
    assert Tolerance(0, 0).resolve("float32", 1.0) == (0.0, 0.0)
    assert not Tolerance(atol=0).is_derived


@pytest.mark.parametrize("tolerance", [Tolerance(), Tolerance(1e-4, 1e-3)])
@pytest.mark.parametrize("dtype", ["int64", "bool", "string"])
def test_other_dtypes_are_exact(tolerance: Tolerance, dtype: str) -> None:
    """Integers, booleans and strings are compared exactly whatever was asked for."""
    assert tolerance.resolve(dtype, 10.0) == (0.0, 0.0)


def test_derived_follows_dtype_and_scale() -> None:
    """A derived tolerance shrinks with the dtype's epsilon, grows with the scale and never reaches zero."""
    derived = Tolerance()

    assert derived.is_derived
    by_precision = sorted(EPSILON, key=EPSILON.__getitem__)
    absolute = [derived.resolve(dtype, 1.0)[0] for dtype in by_precision]
    assert absolute == sorted(absolute)
    assert derived.resolve("float32", 100.0)[0] == pytest.approx(100 * derived.resolve("float32", 1.0)[0])
    assert derived.resolve("float32", 0.0)[0] > 0


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_epsilon_is_numpys(dtype: str) -> None:
    """The table of epsilons agrees with numpy."""
    numpy = pytest.importorskip("numpy")

    assert float(numpy.finfo(dtype).eps) == EPSILON[dtype]


@pytest.mark.parametrize(
    ("variant", "expected"),
    [
        (Variant("dynamo", 20), "dynamo-opset20"),
        (Variant("keras"), "keras"),
        (Variant(None, 17), "auto-opset17"),
        (Variant("dynamo", 20, {"optimize": False}, "plain"), "dynamo-opset20-plain"),
    ],
)
def test_variant_id(variant: Variant, expected: str) -> None:
    """The id names the exporter, the opset where one was asked for, and the options' label."""
    assert variant.id == expected


def test_variant_json() -> None:
    """Reports show exporter and opset, and options as text where there are any."""
    assert Variant("dynamo", 20).to_json() == {"exporter": "dynamo", "opset": 20}

    shown = Variant("dynamo", None, {"fallback": object}).to_json()

    assert json.loads(json.dumps(shown)) == shown
    assert shown["options"] == {"fallback": "<class 'object'>"}
