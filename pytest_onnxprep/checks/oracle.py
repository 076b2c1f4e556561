"""What ``parity(oracle=)`` compares with: the framework, or the ONNX reference evaluator of the file itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from pytest_onnxprep.artifacts.composed_model import ComposedModel
from pytest_onnxprep.artifacts.onnx_model import OnnxModel
from pytest_onnxprep.errors import OnnxPrepError, ReferenceRefused

Arrays = Mapping[str, np.ndarray]
Answer = Callable[[Arrays], dict[str, np.ndarray]]


def reference_of(model: OnnxModel, oracle: str) -> Callable[[Arrays], Arrays]:
    """Who gives the expected outputs.

    Of several files each one's evaluator stands in its place; what is between them is run as it is everywhere.

    Args:
        model: the file, or the files.
        oracle: ``framework`` or ``onnx``.

    Raises:
        OnnxPrepError: the reference evaluator cannot run a file.
    """
    if oracle == "framework":
        return model.reference
    if not isinstance(model, ComposedModel):
        return _evaluator(model)
    answers = {name: _evaluator(part) for name, part in model.parts.items()}
    composition = model.composition
    return lambda feeds: composition.answer(feeds, lambda name, inputs: answers[name](inputs))


def _evaluator(model: OnnxModel) -> Answer:
    from onnx.reference import ReferenceEvaluator

    try:
        evaluator = ReferenceEvaluator(str(model.path))
    except Exception as error:
        raise OnnxPrepError(
            f"parity(oracle='onnx'): the ONNX reference evaluator cannot run {model.path.name}: "
            f"{' '.join(str(error).split())[:300]}; leave oracle= out to compare with {model.source.label}"
        ) from error
    names = model.output_names

    def evaluate(feeds: Arrays) -> dict[str, np.ndarray]:
        try:
            return dict(zip(names, evaluator.run(names, dict(feeds)), strict=True))
        except Exception as error:
            raise ReferenceRefused(f"{type(error).__name__}: {error}") from error

    return evaluate
