"""A file made elsewhere at the largest sizes its test declares: what it takes there may grow beyond all measure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from pytest_onnxprep.errors import SourceError, SpecError
from pytest_onnxprep.fuzz.example import Maker
from pytest_onnxprep.fuzz.recipes import numpy_dtype
from pytest_onnxprep.sources.onnx_file import external_files
from pytest_onnxprep.sources.onnx_guard import MOST_INPUT_BYTES
from pytest_onnxprep.sources.onnx_trial import failure_at_largest
from pytest_onnxprep.spec.signature import Signature


def try_at_largest(path: Path, signature: Signature, libraries: Sequence[str]) -> None:
    """Run a file in a process of its own at the largest sizes, before a check does so here.

    Raises:
        SourceError: it does not end well there, or its inputs alone are beyond measure.
    """
    sizes = {name: dim.largest for name, dim in signature.dims.items()}
    if sizes == signature.trace_sizes():
        return
    at = ", ".join(f"{name}={size}" for name, size in sizes.items())
    advice = f"give smaller ranges in dims= (at {at})"
    try:
        shapes = signature.shapes(sizes)
    except SpecError:  # an expression is negative there
        return
    total = sum(math.prod(shape) * numpy_dtype(signature.inputs[name].dtype).itemsize for name, shape in shapes.items())
    if total > MOST_INPUT_BYTES:
        raise SourceError(f"{str(path)!r} is not run: its inputs would take {total / 1e9:.3g} GB together; {advice}")
    try:
        beside = sorted(external_files(path))
    except SourceError:  # unreadable: the contract check says so
        return
    maker = Maker(signature)
    failed = failure_at_largest(path, beside, maker.feeds(maker.plain(sizes)), libraries)
    if failed:
        raise SourceError(f"{str(path)!r} is not run here, as in a process of its own {failed}; {advice}")
