"""Hypothesis strategies for tests of your own: ``feeds(signature)`` draws complete model inputs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pytest_onnxprep.fuzz.draw import decode, numbers_strategy
from pytest_onnxprep.fuzz.example import Maker
from pytest_onnxprep.spec.signature import Signature

if TYPE_CHECKING:
    from hypothesis.strategies import SearchStrategy


def feeds(signature: Signature, *, special_values: bool = False) -> SearchStrategy[dict[str, Any]]:
    """Strategy of feeds: input name -> array of the declared dtype and a shape within the declared dims.

    Hypothesis draws sizes, value recipes and a seed; NumPy makes the arrays. Shrinking gives small sizes and plain
    values.

    Args:
        signature: of an `OnnxModel` (``onnx_model.signature``), or built by hand.
        special_values: also draw NaN, infinities and signed zeros.
    """
    maker = Maker(signature, special_values=special_values)
    examples = numbers_strategy(maker).map(lambda numbers: decode(maker, numbers))
    strategy: SearchStrategy[dict[str, Any]] = examples.filter(lambda example: example is not None).map(maker.feeds)
    return strategy
