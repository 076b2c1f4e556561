"""What torch.export assumes of sizes while it traces: it goes on without a word where a branch or a reshape forces one.

With a dim that is only said to be dynamic, torch narrows its range (``if x.shape[0] > 4``), ties dims together (``x +
x.T``) or takes multiples for granted (a reshape), and the exported input still reads ``batch``. Each of these passes
one method of its ``ShapeEnv``, the lowering to ONNX included, which drops them later. It is watched from outside.
"""

from __future__ import annotations

import linecache
import os
import re
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from pytest_onnxprep.exporters.job import ExportJob
from pytest_onnxprep.exporters.narrowing import Assumption, narrowed
from pytest_onnxprep.sources.module_origin import Origin, origin_of_path
from pytest_onnxprep.spec.shape import DimExpr

_PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep
#: How torch.export calls an axis of an input: by position of the flat module's, or by name.
_BY_POSITION = re.compile(r"L\['(?:tensors|flat_args)'\]\[(\d+)\]\.size\(\)\[(\d+)\]")
_BY_NAME = re.compile(r"L\['(?:kwargs'\]\[')?([^']+)'\]\.size\(\)\[(\d+)\]")
_STACK_LINE = re.compile(r'File "([^"]+)", line (\d+), in (\S+)')

Place = tuple[str, int, str]


class GuardLog:
    """Every guard torch made over the sizes of the inputs, with the line of the model that was running."""

    def __init__(self, job: ExportJob) -> None:
        self._job = job
        #: (the ShapeEnv, whose attempt it is; the guard over names of dims; where)
        self._found: dict[tuple[int, str], tuple[Any, str, Place | None]] = {}

    def add(self, env: Any, prefix: str, guard: Any) -> None:
        """Take one guard; those that torch itself does not hold to, or that are not of the inputs alone, are left."""
        if "suppressed" in prefix:
            return
        text = self._text(env, guard)
        if text is not None and (id(env), text) not in self._found:
            self._found[id(env), text] = (env, text, _place())

    def assumptions(self, program: Any = None) -> list[Assumption]:
        """What was assumed for a program; without one, in all attempts to make it."""
        env = _env_of(program)
        found: dict[str, Assumption] = {}
        for of, guard, place in self._found.values():
            if env is None or of is env:
                file, line, function = place or ("", 0, "")
                code = linecache.getline(file, line).strip() if file else ""
                found.setdefault(guard, Assumption(guard, file, line, function, code))
        return list(found.values())

    def note(self, program: Any) -> None:
        """Leave with the job what the program takes for granted."""
        found = narrowed(self.assumptions(program), self._job.signature)
        if found:
            self._job.notes["narrowed"] = found

    def _text(self, env: Any, guard: Any) -> str | None:
        """The guard in Python, over the names of dims."""
        import sympy  # type: ignore[import-untyped]
        from torch.utils._sympy.printers import PythonPrinter

        named = {}
        for symbol in guard.free_symbols:
            dim = self._dim(env.var_to_sources.get(symbol, ()))
            if dim is None:
                return None
            text = str(dim) if isinstance(dim.node, str) else f"({dim})"
            named[symbol] = sympy.Symbol(text, integer=True, nonnegative=True)
        replaced = guard.xreplace(named)
        if not named or replaced in (sympy.true, sympy.false):
            return None
        text = PythonPrinter().doprint(replaced)
        return re.sub(r"\((\w+ (?:%|//) \d+)\)(?= [=!<>])", r"\1", text)

    def _dim(self, sources: Iterable[Any]) -> DimExpr | None:
        """The declared dim behind a symbol."""
        inputs = {name: tuple(spec.shape) for name, spec in self._job.signature.inputs.items()}
        for source in sources:
            name = source.name() if callable(source.name) else source.name
            if (found := _BY_POSITION.fullmatch(name)) and int(found[1]) < len(inputs):
                shape = list(inputs.values())[int(found[1])]
            elif (found := _BY_NAME.fullmatch(name)) and found[1] in inputs:
                shape = inputs[found[1]]
            else:
                continue
            if int(found[2]) < len(shape):
                dim: DimExpr = shape[int(found[2])]
                return dim
        return None


@contextmanager
def guards_watched(job: ExportJob) -> Iterator[GuardLog]:
    """Record the guards made in the body.

    Where torch's exporter raises, what it had assumed is left with the job, for the message. The method is private to
    torch, so its absence is no error: reasons are missing then, and nothing else.
    """
    log = GuardLog(job)
    shape_env: Any = None
    original: Any = None
    with suppress(ImportError, AttributeError):
        from torch.fx.experimental.symbolic_shapes import ShapeEnv

        shape_env, original = ShapeEnv, ShapeEnv._log_guard

    def watch(env: Any, prefix: str, guard: Any, *arguments: Any, **keywords: Any) -> Any:
        with suppress(Exception):  # whatever torch changes here must not break an export
            log.add(env, prefix, guard)
        return original(env, prefix, guard, *arguments, **keywords)

    if original is not None:
        shape_env._log_guard = watch
    try:
        yield log
    except Exception:
        log.note(None)
        raise
    finally:
        if original is not None:
            shape_env._log_guard = original


def _env_of(program: Any) -> Any:
    """The ShapeEnv a finished program was traced with."""
    with suppress(Exception):
        for node in program.exported_program.graph.nodes:
            mode = getattr(node.meta.get("val"), "fake_mode", None)
            if mode is not None and mode.shape_env is not None:
                return mode.shape_env
    return None


def _place() -> Place | None:
    """The innermost line of the model: on the stack now, in dynamo's own, or in the record of the node at work."""
    for stack in (_live(), _dynamo(), _node()):
        inner = [place for place in stack if _of_the_model(place[0])]
        if inner:
            return inner[-1]
    return None


def _live() -> list[Place]:
    """The frames inside the call of the model: what lies below our own innermost frame but this module's."""
    frame = sys._getframe(1)
    places: list[Place] = []
    walked: Any = frame
    while walked is not None:
        file = walked.f_code.co_filename
        if file.startswith(_PACKAGE) and file != __file__:
            inside = walked.f_code.co_name in ("call", "forward")
            return places[::-1] if inside else []
        places.append((file, walked.f_lineno, walked.f_code.co_name))
        walked = walked.f_back
    return []


def _dynamo() -> list[Place]:
    with suppress(Exception):
        from torch._guards import TracingContext

        return [(frame.filename, frame.lineno or 0, frame.name) for frame in TracingContext.extract_stack()]
    return []


def _node() -> list[Place]:
    with suppress(Exception):
        from torch.fx.traceback import get_current_meta

        found = _STACK_LINE.findall(get_current_meta().get("stack_trace") or "")
        return [(file, int(line), function) for file, line, function in found]
    return []


def _of_the_model(file: str) -> bool:
    if file.startswith(("<", _PACKAGE)) or f"{os.sep}torch{os.sep}" in file:
        return False
    return origin_of_path(file) is not Origin.STDLIB
