"""The reference must be a function of its inputs: neither random, nor stateful, nor in train mode."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from pytest_onnxprep.artifacts.onnx_model import OnnxModel
from pytest_onnxprep.compare.outputs import Rule, compare_outputs
from pytest_onnxprep.errors import ParityError, ReferenceRefused
from pytest_onnxprep.fuzz.example import Example

if TYPE_CHECKING:
    from pytest_onnxprep.checks.parity_run import ParityRun


def check_reference(run: ParityRun, example: Example, *, thorough: bool) -> None:
    """Run the reference twice on one example; the first answer is kept as the one to compare with.

    Args:
        run: the check.
        example: to run.
        thorough: also look for state that changes between the calls.

    Raises:
        ParityError: the two runs differ by more than rounding, or the first one changed the model's state in a way
            that train mode does; named as what it is.
    """
    model, source = run.model, run.model.source
    before = source.state() if thorough else {}
    try:
        first = {name: array.copy() for name, array in run.reference(run.maker.feeds(example)).items()}
        between = source.state() if thorough else {}
        second = run.reference(run.maker.feeds(example))
    except ReferenceRefused:
        return
    hint = source.mode_hint() if thorough else ""
    changed = [name for name, array in before.items() if not np.array_equal(array, between[name], equal_nan=False)]
    comparison = compare_outputs(first, second, Rule())
    if comparison.passed and not (hint and changed):
        if run.answers is not None:
            run.answers.learn(example, first)
        return
    hint = hint or source.mode_hint()
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
