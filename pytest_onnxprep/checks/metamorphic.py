"""Relations that hold without any tolerance of the user's: the same answer twice, rows one by one, padding unseen.

A relation that the file breaks and the framework keeps is looked into by an ordinary comparison of the two on the very
input that shows it, so that rounding is no violation.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from pytest_onnxprep.checks.parity_run import Failure, ParityRun
from pytest_onnxprep.compare.outputs import Rule, compare_outputs
from pytest_onnxprep.errors import ReferenceRefused
from pytest_onnxprep.fuzz.example import Example
from pytest_onnxprep.fuzz.masks import OF_PADDING
from pytest_onnxprep.fuzz.recipes import make_array

Arrays = Mapping[str, np.ndarray]


def broken_relation(run: ParityRun, example: Example) -> Failure | None:
    """Try the relations on one example that is known to agree; None while all of them hold.

    Args:
        run: the check.
        example: sizes and values; the batch dim should be at least 2.
    """
    try:
        feeds = run.maker.feeds(example)
        expected, actual = run.expected(example, feeds), run.model.run(feeds)
        for text, changed, keep in (*_rows(run, example, feeds), *_padding(run, example, feeds)):
            if not _holds(expected, run.reference(changed), keep):
                continue  # the framework does not keep it either
            if not _file_holds(run, actual, changed, keep):
                failure = run.check(Example({}, {}, sample=text), dict(changed), counted=False)
                if failure is not None:
                    return failure
    except ReferenceRefused:
        return None
    return None


def unrepeatable(run: ParityRun, example: Example) -> Failure | None:
    """Run the file twice on one input; None where it answers the same.

    Args:
        run: the check.
        example: one that the file takes.
    """
    feeds = run.maker.feeds(example)
    try:
        first, second = run.model.run(feeds), run.model.run(feeds)
    except Exception:  # refused, by the framework as well
        return None
    comparison = compare_outputs(first, second, Rule())
    if comparison.passed:
        return None
    worst = comparison.worst
    left = run.model.source.mode_hint() or "dropout, a random operator"
    return Failure(
        example,
        feeds,
        first,
        None,
        f"two runs of the file on one input differ: {worst.output!r} {worst.what} by up to {worst.max_abs:.3g}. "
        f"Something random is left in the graph ({left}): export the model in inference mode",
        unrepeatable=True,
    )


#: A relation: what it is called, the changed inputs, and the part of the old outputs that must come out again.
Relation = tuple[str, Arrays, "slice | np.ndarray | None"]


def _rows(run: ParityRun, example: Example, feeds: Arrays) -> Iterator[Relation]:
    """The last row alone, where one dim is the first axis of every input and nothing else."""
    shapes = [[str(dim) for dim in spec.shape] for spec in run.signature.inputs.values()]
    name = shapes[0][0] if shapes and shapes[0] else ""
    dim = run.signature.dims.get(name)
    if dim is None or 1 not in dim or example.sizes.get(name, 0) < 2:
        return
    if any(shape[:1] != [name] or any(name in part for part in shape[1:]) for shape in shapes):
        return
    row = example.sizes[name] - 1
    part = slice(row, row + 1)
    yield f"row {row} alone of {example}", {key: array[part].copy() for key, array in feeds.items()}, part


def _padding(run: ParityRun, example: Example, feeds: Arrays) -> Iterator[Relation]:
    """Other values where a mask input of the same shape is 0."""
    masks = [name for name, kinds in run.maker.recipes.items() if kinds[0] in OF_PADDING]
    rng = np.random.default_rng(example.seed + 1)
    for mask in masks:
        hidden = feeds[mask] == 0
        if not hidden.any():
            continue
        changed = dict(feeds)
        for name, array in feeds.items():
            if name not in masks and array.shape == hidden.shape and run.maker.recipes[name] != ["custom"]:
                other = make_array(run.maker.recipes[name][0], run.signature.inputs[name], array.shape, rng)
                changed[name] = np.where(hidden, other, array)
        if any(changed[name] is not feeds[name] for name in feeds):
            yield f"other values where {mask} is 0, at {example}", changed, ~hidden


def _file_holds(run: ParityRun, before: Arrays, changed: Arrays, keep: slice | np.ndarray | None) -> bool:
    try:
        return _holds(before, run.model.run(changed), keep)
    except Exception:  # refused: the comparison will say so
        return False


def _holds(before: Arrays, after: Arrays, keep: slice | np.ndarray | None) -> bool:
    """Whether the kept part of the old outputs came out again, up to rounding."""
    for name, old in before.items():
        new = after[name]
        if isinstance(keep, slice):
            if not old.ndim or new.shape != old[keep].shape:
                return True  # not an output of rows
            old = old[keep]
        elif keep is not None and old.shape[: keep.ndim] == keep.shape and new.shape == old.shape:
            old, new = old[keep], new[keep]
        if not compare_outputs({name: old}, {name: new}, Rule()).passed:
            return False
    return True
