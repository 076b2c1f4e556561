"""The reference must be a function of its inputs: neither random, nor stateful, nor in train mode."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from pytest_onnxprep.artifacts.onnx_model import OnnxModel
from pytest_onnxprep.compare.outputs import Rule, compare_outputs
from pytest_onnxprep.errors import ParityError, ReferenceRefused
from pytest_onnxprep.fuzz.example import Example, Maker


def check_reference(
    model: OnnxModel,
    maker: Maker,
    example: Example,
    reference: Callable[[Mapping[str, np.ndarray]], Mapping[str, np.ndarray]],
) -> None:
    """Run the reference twice on one example.

    Raises:
        ParityError: the two runs differ by more than rounding, or the first one changed the model's state in a way
            that train mode does; named as what it is.
    """
    source = model.source
    before = source.state()
    try:
        first = {name: array.copy() for name, array in reference(maker.feeds(example)).items()}
        between = source.state()
        second = reference(maker.feeds(example))
    except ReferenceRefused:
        return
    hint = source.mode_hint()
    changed = [name for name, array in before.items() if not np.array_equal(array, between[name], equal_nan=False)]
    comparison = compare_outputs(first, second, Rule())
    if comparison.passed and not (hint and changed):
        return
    if comparison.passed:
        raise _finding(f"{hint} (a call changed {changed[0]!r})", model)
    worst = comparison.worst
    size = (
        f"{worst.output!r} differs by {worst.max_abs:.3g}"
        if worst.kind == "values"
        else f"{worst.output!r} {worst.what}"
    )
    if hint:
        cause = hint
    elif changed:
        cause = f"state carried between calls: a call changed {changed[0]!r}"
    else:
        cause = "it is random, or carries state between calls in an attribute"
    raise _finding(f"{cause}; two runs on the same input ({example}): {size}", model)


def _finding(cause: str, model: OnnxModel) -> ParityError:
    summary = f"the reference is not repeatable: {cause}"
    return ParityError.fail(
        summary,
        f"the reference is not repeatable, so nothing can be compared with it\n  model   {model.source.label}\n"
        f"  cause   {cause}\n  mend    return the model in inference mode, free of randomness and of carried state",
    )
