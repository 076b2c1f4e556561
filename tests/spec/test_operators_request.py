"""The arguments of ``operators``."""

from __future__ import annotations

import pytest

from pytest_onnxprep.spec.errors import SpecError
from pytest_onnxprep.spec.operators_request import matches, read_operators


def test_names_are_written_as_reports_write_them() -> None:
    """ONNX's own domain is left off, a colon is as good as a dot, and a name alone is a list of one."""
    request = read_operators(allowed=["ai.onnx.Conv", "ai.onnx:Gemm", "com.microsoft:Gelu"], forbidden="Loop")

    assert request.allowed == ("Conv", "Gemm", "com.microsoft.Gelu")
    assert request.forbidden == ("Loop",)


def test_allowing_an_operator_declares_its_domain() -> None:
    """The export's contract then takes the domain as declared; a pattern over domains declares none."""
    request = read_operators(allowed=["Conv", "com.microsoft.Gelu", "*.Relu"], domains=["my.ops"])

    assert request.declared_domains() == ("com.microsoft", "my.ops")


@pytest.mark.parametrize(
    ("name", "pattern"),
    [
        ("Conv", "Conv"),
        ("ReduceMean", "Reduce*"),
        ("com.microsoft.Gelu", "com.microsoft.*"),
        ("ai.onnx.ml.Normalizer", "ai.onnx.ml.*"),
    ],
)
def test_patterns_match(name: str, pattern: str) -> None:
    """Names match themselves and the patterns that mean them."""
    assert matches(name, ["Loop", pattern]) == pattern


@pytest.mark.parametrize(("name", "pattern"), [("com.microsoft.Gelu", "*"), ("Gelu", "com.*"), ("Conv", "ConvInteger")])
def test_patterns_that_do_not_match(name: str, pattern: str) -> None:
    """A pattern without a domain means ONNX's own operators only."""
    assert matches(name, [pattern]) == ""


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({}, "no requirement given; accepted: allowed, forbidden, opset_max, domains"),
        ({"opset_max": "17"}, "opset_max must be a whole number >= 1, not '17'"),
        ({"opset_max": True}, "opset_max must be a whole number"),
        ({"allowed": []}, "accepts no model at all"),
        ({"allowed": 3}, "allowed must be operator names"),
        ({"allowed": ["Conv", ""]}, "an empty name"),
        ({"forbidden": ["Co nv"]}, "'Co nv' is no operator name"),
        ({"allowed": ["Conv"], "forbidden": ["Conv"]}, "both allowed and forbidden: Conv"),
        ({"domains": {"com.microsoft": 1}}, "domains must be operator domains"),
    ],
)
def test_what_is_malformed_is_said(arguments: dict, said: str) -> None:
    """Each wrong argument is named, with what is accepted."""
    with pytest.raises(SpecError) as caught:
        read_operators(**arguments)

    assert said in str(caught.value)
