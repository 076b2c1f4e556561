"""Brute-force verification of the corpus: `python -m benchmarks.detection.verify [name ...]`.

A bug's witness has to show the bug on this stack, far beyond rounding. A twin has to agree with its reference at every
size (or at a spread of them, where they are many) and on many kinds of values. Nothing of the plugin's fuzzing or
comparison is used: `values.py` makes the inputs and `judge.py` compares.
"""

from __future__ import annotations

import sys
import time
import traceback
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from benchmarks.detection.case import Case
from benchmarks.detection.exporting import Subject, open_case
from benchmarks.detection.judge import FAR, Judgement, judge
from benchmarks.detection.values import draws, make
from pytest_onnxprep.errors import Finding

#: Operators that may choose freely among equal values.
TIE_BREAKERS = {"TopK", "ArgMax", "ArgMin", "NonMaxSuppression", "Unique"}
LIMIT_S = 120.0


@dataclass(frozen=True)
class Verified:
    """What brute force says of a case.

    Attributes:
        holds: a bug is shown, or a twin is clean.
        what: the evidence.
        tried: number of inputs on which both were run.
    """

    name: str
    holds: bool
    what: str
    tried: int = 0


def verify(case: Case, *, limit_s: float = LIMIT_S) -> Verified:
    """Verify one case."""
    try:
        subject = open_case(case)
    except Exception as error:
        return Verified(case.name, False, f"broken case: {type(error).__name__}: {_line(error)}")
    try:
        _ = subject.session
    except Finding as finding:
        return Verified(case.name, case.is_bug, f"the export is refused: {_line(finding)}")
    except Exception as error:
        return Verified(case.name, case.is_bug, f"cannot be loaded: {type(error).__name__}: {_line(error)}")
    return _verify_bug(subject) if case.is_bug else _verify_twin(subject, limit_s)


def _verify_bug(subject: Subject) -> Verified:
    case = subject.case
    assert case.witness is not None
    feeds = {name: np.asarray(array) for name, array in case.witness().items()}
    wrong = outside(subject, feeds)
    if wrong:
        return Verified(case.name, False, f"the witness is not legal: {wrong}")
    found = look(subject, feeds)
    if found is None:
        return Verified(case.name, False, "the reference refuses the witness", 1)
    return Verified(case.name, found.ratio > FAR, found.what or "agrees on the witness", 1)


def _verify_twin(subject: Subject, limit_s: float) -> Verified:
    extra = ("special",) if subject.case.special_values else ()
    started, tried, worst = time.monotonic(), 0, Judgement(0.0)
    for draw in draws(subject.signature, extra=extra):
        feeds = make(subject.signature, draw)
        found = look(subject, feeds)
        if found is None:
            continue
        tried += 1
        if found.ratio > 1 and not _legal_ties(subject, found):
            return Verified(subject.case.name, False, f"{found.what} at {draw.to_json()}", tried)
        worst = max(worst, found, key=lambda judgement: judgement.ratio if np.isfinite(judgement.ratio) else -1)
        if time.monotonic() - started > limit_s:
            return Verified(subject.case.name, True, f"clean, cut short; worst {worst.ratio:.2g} of rounding", tried)
    clean = tried > 0
    return Verified(
        subject.case.name,
        clean,
        f"clean, worst {worst.ratio:.2g} of rounding" if clean else "the reference refuses every input",
        tried,
    )


def look(subject: Subject, feeds: Mapping[str, np.ndarray]) -> Judgement | None:
    """Run both sides; None where the reference refuses the input."""
    expected = subject.reference(feeds)
    if expected is None:
        return None
    try:
        actual = subject.run(feeds)
    except Exception as error:
        return Judgement(np.inf, f"ONNX Runtime refuses: {_line(error)}")
    return judge(expected, actual, subject.reference64(feeds))


def outside(subject: Subject, feeds: Mapping[str, np.ndarray]) -> str:
    """Why feeds are no legal input of the declaration; empty where they are."""
    signature = subject.signature
    if set(feeds) != set(signature.inputs):
        return f"has inputs {sorted(feeds)}, declared are {sorted(signature.inputs)}"
    sizes: dict[str, int] = {}
    for name, spec in signature.inputs.items():
        array = feeds[name]
        if spec.dtype != "string" and array.dtype.name != spec.dtype:
            return f"{name} is {array.dtype}, declared {spec.dtype}"
        if array.ndim != len(spec.shape):
            return f"{name} has rank {array.ndim}, declared {spec}"
        for size, dim in zip(array.shape, spec.shape, strict=True):
            if isinstance(dim.node, str) and sizes.setdefault(dim.node, size) != size:
                return f"{dim} is {size} and {sizes[dim.node]}"
        numbers = array[np.isfinite(array)] if array.dtype.kind == "f" else array
        if spec.low is not None and numbers.size and (numbers < spec.low).any():
            return f"{name} has values below {spec.low}"
        above = spec.high is not None and numbers.size and array.dtype.kind in "iu" and (numbers >= spec.high).any()
        if above or (spec.high is not None and array.dtype.kind == "f" and (numbers > spec.high).any()):
            return f"{name} has values above {spec.high}"
        if array.dtype.kind == "f" and numbers.size < array.size and not subject.case.special_values:
            return f"{name} has NaN or infinities, which the case does not declare (special_values)"
    for name, size in sizes.items():
        if size not in signature.dims[name]:
            return f"{name}={size} lies outside {signature.dims[name]}"
    shapes = signature.shapes(sizes)
    return next(
        (f"{n} is {feeds[n].shape}, declared {shape}" for n, shape in shapes.items() if feeds[n].shape != shape), ""
    )


def _legal_ties(subject: Subject, found: Judgement) -> bool:
    """Another order among equal values is no bug, where values agree and only positions differ."""
    if not found.discrete:
        return False
    import onnx

    graph = onnx.load(str(subject.path), load_external_data=False).graph
    return any(node.op_type in TIE_BREAKERS for node in graph.node)


def _line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:160]


def main(names: list[str]) -> int:
    """Verify the named cases, or all of them."""
    from benchmarks.detection.corpus import all_cases

    cases = [
        case
        for case in all_cases()
        if not names or any(name in (case.framework, case.exporter) or name in case.name for name in names)
    ]
    failed = []
    for case in sorted(cases, key=lambda case: case.framework):
        started = time.monotonic()
        try:
            result = verify(case)
        except Exception:
            result = Verified(case.name, False, traceback.format_exc().strip().splitlines()[-1])
        kind = "bug " if case.is_bug else "twin"
        verdict = "ok  " if result.holds else "FAIL"
        seconds = time.monotonic() - started
        print(f"{verdict} {kind} {case.name}: {result.what} [{result.tried}, {seconds:.1f} s]", flush=True)
        if not result.holds:
            failed.append(case.name)
    bugs = sum(case.is_bug for case in cases)
    print(
        f"{bugs} bugs and {len(cases) - bugs} twins, {len(failed)} of them fail{': ' if failed else ''}"
        + ", ".join(failed)
    )
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
