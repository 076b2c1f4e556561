"""An exporter raised: say what stopped it, where in the user's code, and what to do, in the converter's own words."""

from __future__ import annotations

import os
import re
import traceback
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pytest_onnxprep.errors import ExporterError, ExportFailed
from pytest_onnxprep.exporters.catalog import ExporterInfo
from pytest_onnxprep.exporters.chatter import Chatter, plain
from pytest_onnxprep.exporters.job import ExportJob
from pytest_onnxprep.exporters.narrowing import place, words
from pytest_onnxprep.exporters.unsupported import finding, operators_behind
from pytest_onnxprep.sources.module_origin import Origin, origin_of_path

_PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
_LONGEST = 3000
_SUMMARY_LIMIT = 300

#: torch's dynamo exporter puts its advice first, and what happened last.
_TORCH_SUMMARY = re.compile(
    r"## Exception summary\s+<class '([\w.]+)'>: (.*?)\s*(?:\(Refer to the full stack trace|\Z)", re.S
)
#: How torch.export names an axis: of the flat module's inputs by position, of a library's own exporter by name.
_TORCH_AXIS = re.compile(r"inputs\['(\w+)'\](?:\[(\d+)\])?\.shape\[(\d+)\]")

_HINTS = (
    (
        "Could not guard on data-dependent",
        "The code branches on values (`if x.sum() > 0`), which a graph cannot: use torch.where or torch.cond.",
    ),
    (
        "to ONNX opset version",
        "Ask for a newer opset, try exporter='dynamo', or rewrite that part of the model with other operators.",
    ),
    (
        "Attempted boolean conversion of traced array",
        "The code branches on values (`if x.sum() > 0`), which a graph cannot: use jnp.where or jax.lax.cond.",
    ),
    (
        "Cannot mutate Variable from a different trace level",
        "The module changes its own state, which an ONNX file cannot keep from call to call: give the state as an "
        "input and return it as an output.",
    ),
    (
        "Cannot mutate RngCount",
        "Flax counts random numbers there, which jax2onnx cannot trace: dropout in train mode, or a walk of Flax's own "
        "(nnx.RNN), in whose place jax.lax.scan over the cell works (suites/challenges/test_recurrent_jax.py).",
    ),
    (
        "is inconclusive",
        "The code decides on a size, and the declared range leaves both answers open: narrow it in dims=, write that "
        "part for all sizes, or declare the dim with one size.",
    ),
    (
        "_DynamicDimSentinel",
        "jax2onnx cannot compute with the size of an array made from a dynamic size (jnp.arange(x.shape[0])): use "
        "jax.lax.iota, or declare the dim with one size.",
    ),
    (
        "would be larger than the limit",
        "TensorFlow keeps frozen weights in one protobuf, which ends at 2 GB: export the parts of the model apart, or "
        "convert it from PyTorch or JAX, whose exporters write weights beside the file.",
    ),
    ("input size not accessible", "The operator needs that size as a number: declare the dim with a fixed size."),
)

#: How torch.export tells, once its axes are named, of a size it made a number.
_FIXED = re.compile(r"tracing inferred a static shape of (\d+) for dimension (.+? \(input '[^']*', axis \d+\))")
_MOST_REASONS = 5
#: JAX's name for what the plugin itself declared.
_JAX_SCOPE = re.compile(r"Using symbolic scope \d+ created at .*? with constraints:")


def export_failed(info: ExporterInfo, job: ExportJob, error: Exception, chatter: Chatter) -> ExportFailed:
    """The finding for an exporter that raised.

    Raises:
        ExporterError: a package the exporter needs is missing: nothing is known about the model.
    """
    for cause in _causes(error):
        if isinstance(cause, ModuleNotFoundError) and cause.name:
            raise ExporterError(
                f"exporter {info.name!r} needs {cause.name}, which is not installed: pip install {cause.name}"
            ) from error
    opset = f" at opset {job.variant.opset}" if job.variant.opset else ""
    what = f"{info.name} cannot export the model{opset}"
    kind, text = _told(error, job)
    fixed = _FIXED.findall(text)
    if fixed:
        return _dims_fixed(what, fixed, job, chatter)
    lines = [line.strip() for line in text.splitlines() if line.strip()] or [kind]
    headline = " ".join(lines[:2]) if lines[0].endswith(":") else lines[0]
    if len(headline) > _SUMMARY_LIMIT:
        headline = f"{headline[: _SUMMARY_LIMIT - 1]}…"
    if len(text) > _LONGEST:
        text = f"{text[: _LONGEST * 2 // 3]}\n[...]\n{text[-_LONGEST // 3 :]}"
    hints = "".join(f"\n{hint}" for mark, hint in _HINTS if mark in text)
    mode = job.source.mode_hint()
    hints += f"\nThe model is not in inference mode, which may be why: {mode}." if mode else ""
    operators = operators_behind(_causes(error))
    if operators:
        return finding(what, info.name, operators, f"{kind}: {text}", sections(chatter))
    frames = "".join(f"    {f.filename}:{f.lineno} in {f.name}: {f.line or ''}\n" for f in _frames(error))
    where = f"\nraised at\n{frames}" if frames else ""
    return ExportFailed.fail(
        f"{what}: {kind}: {headline}", f"{what}.\n\n{kind}: {text}\n{hints}{where}", sections(chatter)
    )


def sections(chatter: Chatter) -> tuple[tuple[str, str], ...]:
    """What the converter said, as a section of a report; none where it was silent."""
    return (("converter output", chatter.text),) if chatter.text else ()


def _dims_fixed(what: str, fixed: list[tuple[str, str]], job: ExportJob, chatter: Chatter) -> ExportFailed:
    """The finding for dims that torch.export made numbers, each with the line of the model that was the reason."""
    dims = job.signature.dims
    rows, places = [], []
    for size, axis in dict.fromkeys(fixed):
        name = axis.partition(" (")[0]
        declared = f", declared {dims[name]}" if name in dims else ""
        because = [record for record in job.notes.get("narrowed", ()) if name in record["declared"] and record["file"]]
        because.sort(key=lambda record: record["guard"] != f"{name} == {size}")
        rows.append(f"  {axis} became {size}{declared}")
        rows += [f"      by {words(record)}" for record in because[:2]]
        places += [f", at {place(record)}" for record in because[:1]]
    axes = ", ".join(f"{axis} became {size}" for size, axis in dict.fromkeys(fixed))
    listed = "\n".join(rows)
    return ExportFailed.fail(
        f"{what}: a dim declared dynamic is fixed by the model's code: {axes}{places[0] if places else ''}",
        f"{what}: torch.export inferred a static shape for dims that were declared dynamic.\n\n{listed}\n\n"
        "The code there turns the size into a number or takes one path for it (a Python loop or `if` over it, int(), "
        "a view with constants). Write it with tensor operations or torch.cond, or declare the dim with the one size "
        "the deployed model is to take.",
        sections(chatter),
    )


def reasons(notes: Mapping[str, Any]) -> str:
    """What the exporter assumed or froze while it traced, for the end of a message about sizes."""
    lines = [words(record) for record in notes.get("narrowed", ()) if not record["minor"]]
    lines += [
        f"{warning['text']} ({Path(warning['file']).name}:{warning['line']}: {warning['code']})"
        for warning in notes.get("tracer_warnings", ())
    ]
    if not lines:
        return ""
    listed = "\n".join(f"  - {line}" for line in lines[:_MOST_REASONS])
    more = f"\n  - ... and {len(lines) - _MOST_REASONS} more" if len(lines) > _MOST_REASONS else ""
    return f"\nWhile it traced, the exporter took for granted:\n{listed}{more}"


def _told(error: Exception, job: ExportJob) -> tuple[str, str]:
    """The kind of the error and its text, without torch's own preface."""
    text = _JAX_SCOPE.sub("as declared:", plain(str(error)).strip())
    found = _TORCH_SUMMARY.search(text)
    kind, text = (found[1].rpartition(".")[2], found[2]) if found else (type(error).__name__, text)
    inputs = job.signature.inputs

    def name_axis(match: re.Match[str]) -> str:
        name, axis = match[1], int(match[3])
        if name == "tensors" and match[2] and int(match[2]) < len(inputs):
            name = list(inputs)[int(match[2])]
        spec = inputs.get(name)
        if spec is None or axis >= len(spec.shape):
            return match[0]
        return f"{spec.shape[axis]} (input {name!r}, axis {axis})"

    return kind, _TORCH_AXIS.sub(name_axis, text)


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The error and what it was raised from, outermost first."""
    seen: set[int] = set()
    cause: BaseException | None = error
    while cause is not None and id(cause) not in seen:
        seen.add(id(cause))
        yield cause
        cause = cause.__cause__


def _frames(error: Exception, limit: int = 3) -> list[traceback.FrameSummary]:
    """The innermost frames of the user's own code, of the root cause first; else the converter's own."""
    foreign: list[traceback.FrameSummary] = []
    for cause in reversed(list(_causes(error))):
        frames = [f for f in traceback.extract_tb(cause.__traceback__) if not f.filename.startswith(_PACKAGE)]
        own = [f for f in frames if origin_of_path(f.filename) is Origin.USER and os.path.exists(f.filename)]
        if own:
            return own[-limit:]
        foreign = foreign or frames[-1:]
    return foreign
