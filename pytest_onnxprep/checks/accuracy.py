"""``accuracy_budget``: how good the ONNX model is at its task, and how much worse than the framework's."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, cast

import numpy as np

from pytest_onnxprep.artifacts.onnx_model import OnnxModel
from pytest_onnxprep.checks.case import Case
from pytest_onnxprep.errors import AccuracyBudgetMissed, OnnxPrepError, ReferenceRefused
from pytest_onnxprep.runtime.array_file import load_arrays
from pytest_onnxprep.sources.load import describe, one_line, places
from pytest_onnxprep.spec.accuracy_request import AccuracyRequest
from pytest_onnxprep.spec.verdict import CheckResult, Verdict

#: What a failing check is raised as.
FINDING = AccuracyBudgetMissed

#: Rows of an ``.npz`` that are run at once, where the batch is free.
_BATCH = 32
_LABELS = "labels"

Arrays = dict[str, np.ndarray]


def run(case: Case) -> CheckResult:
    """Score both models on the user's data.

    Raises:
        OnnxPrepError: the dataset or the metric is at fault.
    """
    request: AccuracyRequest = case.request
    model = case.model
    given, found, expected = [], [], []
    for feeds, labels in _batches(request.dataset, model, case.base):
        given.append(labels)
        feeds = model.layout.filed_feeds(feeds)
        try:
            expected.append(model.layout.declared_outputs(model.reference(feeds)))
        except ReferenceRefused as error:
            raise OnnxPrepError(f"accuracy_budget: the framework refuses batch {len(given)}: {error}") from error
        try:
            found.append(model.layout.declared_outputs(model.run(feeds)))
        except Exception as error:
            return CheckResult(
                Verdict.FAIL, f"ONNX Runtime refuses batch {len(given)}, which the framework takes: {one_line(error)}"
            )
    if not given:
        raise OnnxPrepError("accuracy_budget: the dataset is empty")
    labels = _joined(given, "labels")
    score = _score(request, _joined_outputs(found), labels)
    reference = _score(request, _joined_outputs(expected), labels)
    drop = score - reference if request.is_error else reference - score
    figures = {
        "metric": request.name,
        "score": score,
        "reference_score": reference,
        "drop": drop,
        "samples": len(labels),
        "budget": {
            name: value
            for name, value in (("minimum", request.minimum), ("max_drop", request.max_drop))
            if value is not None
        },
    }
    told = f"{request.name} {score:.6g}, the framework's {reference:.6g}, on {len(labels)} samples"
    misses = _misses(request, score, drop)
    if misses:
        return CheckResult(Verdict.FAIL, f"{'; '.join(misses)} ({told})", figures)
    return CheckResult(Verdict.PASS, told, figures)


def _misses(request: AccuracyRequest, score: float, drop: float) -> list[str]:
    found = []
    if not math.isfinite(score):
        found.append(f"{request.name} is {score}")
    elif request.minimum is not None:
        short = score - request.minimum if request.is_error else request.minimum - score
        if short > 0:
            word = "above the allowed" if request.is_error else "below the required"
            found.append(f"{request.name} {score:.6g} is {short:.3g} {word} {request.minimum:.6g}")
    if request.max_drop is not None and not drop <= request.max_drop:
        found.append(f"{request.name} is {drop:.3g} worse than the framework's, {request.max_drop:.3g} is allowed")
    return found


def _batches(dataset: Any, model: OnnxModel, base: Path | None) -> Iterator[tuple[Mapping[str, Any], Any]]:
    if not callable(dataset):
        yield from _from_file(Path(dataset), model, base)
        return
    name = describe(dataset)
    try:
        for pair in dataset():
            if not (isinstance(pair, (tuple, list)) and len(pair) == 2 and isinstance(pair[0], Mapping)):
                raise OnnxPrepError(
                    f"accuracy_budget: dataset {name} must give (feeds, labels) pairs, feeds a mapping of input name "
                    f"to array, not {type(pair).__name__}"
                )
            yield _checked(pair[0], model, name), pair[1]
    except (OnnxPrepError, ReferenceRefused):
        raise
    except Exception as error:
        raise OnnxPrepError(
            f"accuracy_budget: dataset {name} raised {type(error).__name__}: {one_line(error)}"
        ) from error


def _from_file(path: Path, model: OnnxModel, base: Path | None) -> Iterator[tuple[Arrays, np.ndarray]]:
    candidates = places(path, base)
    file = next((candidate for candidate in candidates if candidate.is_file()), None)
    if file is None:
        looked = " and ".join(map(str, candidates))
        raise OnnxPrepError(f"accuracy_budget: dataset {str(path)!r} does not exist (looked for {looked})")
    try:
        arrays = load_arrays(file)
    except Exception as error:
        raise OnnxPrepError(f"accuracy_budget: dataset {str(path)!r} cannot be read: {one_line(error)}") from error
    if _LABELS not in arrays:
        raise OnnxPrepError(
            f"accuracy_budget: dataset {path.name} holds {', '.join(arrays) or 'nothing'}; an array {_LABELS!r} and "
            f"one per input ({', '.join(model.signature.inputs)}) are needed"
        )
    labels = arrays.pop(_LABELS)
    feeds = _checked(arrays, model, path.name)
    step, is_fixed = _step(model)
    if is_fixed and len(labels) % step:
        raise OnnxPrepError(
            f"accuracy_budget: dataset {path.name} holds {len(labels)} labels, and the model takes exactly {step} rows "
            f"at once: give a multiple of {step}, or declare the batch as a dim (inputs=)"
        )
    for start in range(0, len(labels), step):
        yield {name: array[start : start + step] for name, array in feeds.items()}, labels[start : start + step]


def _step(model: OnnxModel) -> tuple[int, bool]:
    """How many rows the model takes at once, and whether it takes no other number."""
    first = next((spec.shape[0] for spec in model.signature.inputs.values() if spec.shape), None)
    if first is None:
        return 1, False
    if first.is_static:
        return max(1, int(first.evaluate({}))), True
    name = str(first)
    return int(min(_BATCH, model.signature.dims[name].max)) if name in model.signature.dims else 1, False


def _checked(feeds: Mapping[str, Any], model: OnnxModel, name: str) -> Arrays:
    wanted = model.layout.declared(model.signature).inputs
    if set(feeds) != set(wanted):
        raise OnnxPrepError(f"accuracy_budget: dataset {name} gives {', '.join(feeds)}; needed: {', '.join(wanted)}")
    arrays = {key: np.asarray(feeds[key]) for key in wanted}
    for key, spec in wanted.items():
        if len(arrays[key].shape) != len(spec.shape) or (
            spec.dtype != "string" and arrays[key].dtype.name != spec.dtype
        ):
            raise OnnxPrepError(
                f"accuracy_budget: dataset {name}: {key} is {arrays[key].dtype.name}{list(arrays[key].shape)}, "
                f"declared {spec}"
            )
    return arrays


def _joined_outputs(batches: list[Arrays]) -> Arrays:
    return {name: _joined([batch[name] for batch in batches], f"output {name!r}") for name in batches[0]}


def _joined(parts: list[Any], what: str) -> np.ndarray:
    arrays = [np.atleast_1d(np.asarray(part)) for part in parts]
    try:
        return np.concatenate(arrays)
    except ValueError as error:
        shapes = sorted({str(list(array.shape)) for array in arrays})[:4]
        raise OnnxPrepError(
            f"accuracy_budget: {what} of the batches cannot be laid one after the other ({', '.join(shapes)}): let the "
            "dataset give batches that differ along the first axis only"
        ) from error


def _score(request: AccuracyRequest, outputs: Arrays, labels: np.ndarray) -> float:
    if isinstance(request.metric, str):
        first = next(iter(outputs.values()))
        try:
            return float(_NAMED[request.metric](first, labels))
        except ValueError as error:
            raise OnnxPrepError(
                f"accuracy_budget: {request.metric} of an output {list(first.shape)} and labels {list(labels.shape)}: "
                f"{one_line(error)}; give a metric of your own: f(outputs, labels) -> float"
            ) from error
    try:
        return float(request.metric(outputs, labels))
    except Exception as error:
        raise OnnxPrepError(
            f"accuracy_budget: metric {describe(request.metric)} raised {type(error).__name__}: {one_line(error)}"
        ) from error


def _top(count: int) -> Callable[[np.ndarray, np.ndarray], float]:
    def top(scores: np.ndarray, labels: np.ndarray) -> float:
        best = np.argsort(-scores, axis=-1, kind="stable")[..., :count]
        if best.shape[:-1] != labels.shape:
            raise ValueError("there is not one label per row")
        return float(np.mean((best == labels[..., None]).any(axis=-1)))

    return top


def _f1(scores: np.ndarray, labels: np.ndarray) -> float:
    """Macro F1 over the classes that occur; an output without an axis of classes is the probability of class 1."""
    chosen = (scores.reshape(labels.shape) > 0.5).astype(int) if scores.size == labels.size else scores.argmax(axis=-1)
    if chosen.shape != labels.shape:
        raise ValueError("there is not one label per row")
    found = []
    for label in np.union1d(chosen, labels):
        hits = np.count_nonzero((chosen == label) & (labels == label))
        asked = np.count_nonzero(chosen == label) + np.count_nonzero(labels == label)
        found.append(2 * hits / asked)
    return float(np.mean(found))


def _distance(values: np.ndarray, labels: np.ndarray) -> np.ndarray:
    if values.size != labels.size:
        raise ValueError("there is not one label per value")
    return cast(np.ndarray, values.reshape(labels.shape).astype(np.float64) - labels.astype(np.float64))


_NAMED: dict[str, Callable[[np.ndarray, np.ndarray], float]] = {
    "top1": _top(1),
    "top5": _top(5),
    "f1": _f1,
    "mae": lambda values, labels: float(np.mean(np.abs(_distance(values, labels)))),
    "mse": lambda values, labels: float(np.mean(_distance(values, labels) ** 2)),
    "rmse": lambda values, labels: float(np.sqrt(np.mean(_distance(values, labels) ** 2))),
}
