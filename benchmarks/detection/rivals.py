"""What a user would run instead, each at its own defaults.

Every rival takes an opened case and says ``found`` (it objects), ``quiet``, ``n/a`` (it does not take such a case) or
``error``. Where a case edits the exported file, the rivals that export by themselves are handed that file: for the two
of torch the program's graph is replaced, for pytest-torch its call of ``torch.onnx.export`` writes the file.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from benchmarks.detection.exporting import Subject
from benchmarks.detection.naive import naive_test
from benchmarks.detection.values import Draw, make
from pytest_onnxprep.errors import Finding

Outcome = Literal["found", "quiet", "n/a", "error"]

#: What the tutorials of PyTorch and the docs of Optimum write: https://pytorch.org/tutorials/, `assert_allclose`.
USUAL = {"rtol": 1e-3, "atol": 1e-5}
#: `torch.onnx.export(verify=True)` warns from these differences on (torch/onnx/_internal/exporter/_core.py, 2.13).
VERIFY_ABS, VERIFY_REL = 5e-3, 1e-1
#: pytest-torch is put here, not into the environment of this repository.
PYTEST_TORCH = Path(tempfile.gettempdir()) / "onnxprep-detection-rivals"


@dataclass(frozen=True)
class Answer:
    """What a tool said of a case."""

    outcome: Outcome
    note: str = ""
    seconds: float | None = None

    def to_json(self) -> dict[str, Any]:
        """For the record."""
        return asdict(self)


def ask(rival: str, subject: Subject) -> Answer:
    """Run a rival over a case. An export that is refused tells everybody, so that counts as found."""
    refused = _refused(subject)
    if refused is not None:
        return refused
    started = time.perf_counter()  # after the export
    try:
        answer = RIVALS[rival](subject)
    except AssertionError as error:
        answer = Answer("found", _line(error))
    except Exception as error:
        answer = Answer("error", f"{type(error).__name__}: {_line(error)}")
    return Answer(answer.outcome, answer.note, round(time.perf_counter() - started, 3))


def _refused(subject: Subject) -> Answer | None:
    try:
        _ = subject.session
    except Finding as finding:
        return Answer("found", f"export refused: {_line(finding)}")
    except Exception as error:
        return Answer("found", f"cannot be loaded: {_line(error)}")
    return None


def example_feeds(subject: Subject) -> dict[str, np.ndarray]:
    """The one input that a person would make up to export with and to check at."""
    return make(subject.signature, Draw(subject.signature.trace_sizes(), "plain", 0))


def _example_input(subject: Subject) -> Answer:
    feeds = example_feeds(subject)
    expected = subject.reference(feeds)
    if expected is None:
        return Answer("n/a", "the reference refuses the example")
    try:
        actual = subject.run(feeds)
    except Exception as error:
        return Answer("found", f"ONNX Runtime refuses: {_line(error)}")
    for want, got in zip(expected, actual, strict=True):
        np.testing.assert_allclose(got, want, **USUAL) if want.dtype.kind in "fiub" else np.testing.assert_array_equal(
            got, want
        )
    return Answer("quiet")


def _naive(subject: Subject) -> Answer:
    from hypothesis.errors import HypothesisException

    try:
        naive_test(subject)
    except (AssertionError, HypothesisException):
        raise
    except Exception as error:  # a test fails by any exception, such as ONNX Runtime's
        return Answer("found", f"{type(error).__name__}: {_line(error)}")
    return Answer("quiet")


def _verify_true(subject: Subject) -> Answer:
    program = _program(subject)
    if program is None:
        return Answer("n/a", "no dynamo export")
    from torch.onnx.verification import verify_onnx_program

    try:
        infos = verify_onnx_program(program)
    except Exception as error:
        return Answer("found", f"cannot be run: {_line(error)}")
    for info in infos:
        if info.max_abs_diff >= VERIFY_ABS or info.max_rel_diff >= VERIFY_REL:
            return Answer("found", f"{info.name}: {info.max_abs_diff:.3g} absolute, {info.max_rel_diff:.3g} relative")
    return Answer("quiet")


def _assert_onnx_program(subject: Subject) -> Answer:
    program = _program(subject)
    if program is None:
        return Answer("n/a", "no dynamo export")
    from torch.onnx.testing import assert_onnx_program

    try:
        # How an edited program was captured is not known; the others have to be as the tool expects.
        assert_onnx_program(program, **({} if subject.case.edit is None else {"strategy": None}))
    except AssertionError:
        raise
    except Exception as error:
        return Answer("found", f"cannot be run: {_line(error)}")
    return Answer("quiet")


_programs: dict[tuple[int, Any], Any] = {}


def _program(subject: Subject) -> Any:
    """The ``ONNXProgram`` of a dynamo case, with the edited graph where the case edits; None for other cases."""
    case = subject.case
    if case.exporter != "dynamo":
        return None
    import onnx_ir
    import torch

    from pytest_onnxprep.exporters.dynamo import _dynamic_shapes, rnn_decompositions
    from pytest_onnxprep.exporters.torch_common import example_tensors, flat_module

    key = id(case.model), case.opset
    if key not in _programs:
        _programs.clear()  # mutants of one host come one after the other
        job = _job(subject)
        with torch.no_grad(), rnn_decompositions(), _quiet():
            _programs[key] = torch.onnx.export(
                flat_module(job),
                example_tensors(job),
                dynamo=True,
                input_names=list(job.signature.inputs),
                output_names=job.output_names,
                dynamic_shapes=_dynamic_shapes(job),
                opset_version=case.opset,
                verbose=False,
            )
    program = _programs[key]
    if case.edit is None:
        return program
    import onnx

    return torch.onnx.ONNXProgram(
        onnx_ir.serde.deserialize_model(onnx.load(str(subject.path))), program.exported_program
    )


def _job(subject: Subject) -> Any:
    from pytest_onnxprep.exporters.job import ExportJob
    from pytest_onnxprep.spec.variant import Variant

    feeds = example_feeds(subject)
    named = subject.signature.with_outputs(list(subject.source.run(feeds, subject.signature)))
    return ExportJob(subject.source, named, Variant(subject.case.exporter, subject.case.opset), feeds, Path("unused"))


def _pytest_torch(subject: Subject) -> Answer:
    case = subject.case
    if case.exporter not in ("dynamo", "torchscript"):
        return Answer("n/a", "torch only")
    if not _pytest_torch_there():
        return Answer("n/a", "not run: pytest-torch could not be installed")
    import torch
    from pytest_torch import assert_onnx_parity

    from pytest_onnxprep.exporters.torch_common import example_tensors, flat_module

    job = _job(subject)
    kwargs = {"dynamo": case.exporter == "dynamo"} | ({} if case.opset is None else {"opset_version": case.opset})
    blob = None if case.edit is None else subject.path.read_bytes()

    def written(_model: Any, _args: Any, path: str, **_: Any) -> None:
        Path(path).write_bytes(blob or b"")

    original = torch.onnx.export
    try:
        if blob is not None:
            torch.onnx.export = written
        with _quiet():
            assert_onnx_parity(flat_module(job), example_tensors(job), export_kwargs=kwargs)
    except AssertionError:
        raise
    except Exception as error:
        return Answer("found", f"refused: {_line(error)}")
    finally:
        torch.onnx.export = original
    return Answer("quiet")


def _pytest_torch_there() -> bool:
    """Install it beside the environment, without its dependencies, when first asked for."""
    if not (PYTEST_TORCH / "pytest_torch").exists():
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(PYTEST_TORCH)]
        subprocess.run([*command, "pytest-torch"], check=False, capture_output=True, timeout=120)
    if str(PYTEST_TORCH) not in sys.path:
        sys.path.append(str(PYTEST_TORCH))
    return (PYTEST_TORCH / "pytest_torch").exists()


def _jax2onnx(subject: Subject) -> Answer:
    """`jax2onnx.allclose(fn, path, inputs)` at its defaults, which takes functions of JAX."""
    if subject.case.framework != "jax":
        return Answer("n/a", "JAX only")
    try:
        from jax2onnx import allclose
    except ImportError:
        return Answer("n/a", "not run: jax2onnx is not installed")
    agrees, message = allclose(subject.source.model, str(subject.path), list(example_feeds(subject).values()))
    return Answer("quiet" if agrees else "found", message)


@contextmanager
def _quiet() -> Iterator[None]:
    """Exporters talk a lot."""
    import contextlib
    import io
    import logging
    import warnings

    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        logging.disable(logging.WARNING)
        try:
            yield
        finally:
            logging.disable(logging.NOTSET)


def _line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return " ".join(lines[:3])[:200] or type(error).__name__


RIVALS: dict[str, Callable[[Subject], Answer]] = {
    "example": _example_input,
    "verify": _verify_true,
    "assert_onnx_program": _assert_onnx_program,
    "pytest-torch": _pytest_torch,
    "jax2onnx": _jax2onnx,
    "naive": _naive,
}
TITLES = {
    "plugin": "@parity()",
    "plugin-explicit": "@parity(atol=, rtol=)",
    "example": "one check at the example input",
    "verify": "torch.onnx.export(verify=True)",
    "assert_onnx_program": "torch.onnx.testing.assert_onnx_program",
    "pytest-torch": "pytest-torch",
    "jax2onnx": "jax2onnx.allclose",
    "naive": "naive Hypothesis test",
}
