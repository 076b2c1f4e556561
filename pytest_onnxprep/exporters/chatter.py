"""Converters talk a lot. What they say is kept, and shown only when something fails."""

from __future__ import annotations

import contextlib
import ctypes
import io
import linecache
import logging
import os
import re
import sys
import tempfile
import warnings
from collections.abc import Iterator
from typing import Any

_MAX_LINES = 60
_ANSI = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
#: Said at every export by torch's exporter where torchvision is not installed; nobody's model is the reason.
_NOISE = re.compile(r"torchvision is not installed\. Skipping torchvision::")


class Chatter:
    """Everything a converter printed, logged or warned, in order."""

    def __init__(self) -> None:
        self.printed = io.StringIO()
        self.logged: list[str] = []
        self.warnings: list[str] = []
        self.native = ""
        self.traced: list[warnings.WarningMessage] = []

    def lines(self) -> list[str]:
        """Warnings first (they name what was frozen), then logs and prints; long output is cut in the middle."""
        printed = [plain(line) for line in (self.printed.getvalue() + self.native).splitlines() if line.strip()]
        lines = [
            line for line in [*dict.fromkeys([*self.warnings, *self.logged]), *printed] if _NOISE.search(line) is None
        ]
        if len(lines) > _MAX_LINES:
            half = _MAX_LINES // 2
            lines = [*lines[:half], f"... {len(lines) - 2 * half} lines left out ...", *lines[-half:]]
        return lines

    @property
    def text(self) -> str:
        """All lines as one text."""
        return "\n".join(self.lines())


def plain(text: str) -> str:
    """Text without terminal colours."""
    return _ANSI.sub("", text)


@contextlib.contextmanager
def captured() -> Iterator[Chatter]:
    """Collect stdout, stderr, logging and warnings of the body, native code's too; nothing reaches the terminal."""
    chatter = Chatter()
    with (
        _descriptors(chatter),
        _streams(chatter),
        warnings.catch_warnings(record=True) as caught,
    ):
        warnings.simplefilter("default")
        try:
            with _loggers(chatter):
                yield chatter
        finally:
            chatter.warnings = [_warning_line(warning) for warning in caught if _tells(warning)]
            chatter.traced = [warning for warning in caught if warning.category.__name__ == "TracerWarning"]


def tracer_warnings(chatter: Chatter) -> list[dict[str, Any]]:
    """What the TorchScript tracer turned into constants: where in whose code, and its own words, each once."""
    found: dict[tuple[str, int, str], dict[str, Any]] = {}
    for warning in chatter.traced:
        text = " ".join(plain(str(warning.message)).split()).split(". ")[0]
        code = linecache.getline(warning.filename, warning.lineno).strip()
        record = {"file": warning.filename, "line": warning.lineno, "code": code, "text": text}
        found.setdefault((warning.filename, warning.lineno, text), record)
    return list(found.values())


class _Collect(logging.Handler):
    def __init__(self, chatter: Chatter) -> None:
        super().__init__(logging.INFO)
        self.chatter = chatter

    def emit(self, record: logging.LogRecord) -> None:
        with contextlib.suppress(Exception):  # a converter's malformed log call must not break its export
            self.chatter.logged.append(plain(f"{record.levelname} {record.name}: {record.getMessage()}"))


@contextlib.contextmanager
def _loggers(chatter: Chatter) -> Iterator[None]:
    """Take every handler off its logger, and collect at the root."""
    root = logging.getLogger()
    handler = _Collect(chatter)
    saved = [
        (logger, logger.handlers, logger.propagate)
        for logger in [root, *_known_loggers()]
        if logger is root or logger.handlers or not logger.propagate
    ]
    try:
        for logger, _, _ in saved:
            logger.handlers = [handler] if logger is root else []
            logger.propagate = True
        yield
    finally:
        for logger, handlers, propagate in saved:
            # Handlers that a framework installed on its first import are its own business.
            handlers += [added for added in logger.handlers if added is not handler and added not in handlers]
            logger.handlers, logger.propagate = handlers, propagate


def _known_loggers() -> list[logging.Logger]:
    return [logger for logger in list(logging.root.manager.loggerDict.values()) if isinstance(logger, logging.Logger)]


@contextlib.contextmanager
def _streams(chatter: Chatter) -> Iterator[None]:
    """Collect what Python prints."""
    with contextlib.redirect_stdout(chatter.printed), contextlib.redirect_stderr(chatter.printed):
        try:
            yield
        finally:
            # A handler made in the body holds on to our stream; the process's own one outlives every replacement.
            for logger in [logging.getLogger(), *_known_loggers()]:
                for handler in logger.handlers:
                    if getattr(handler, "stream", None) is chatter.printed:
                        handler.stream = sys.__stderr__  # type: ignore[attr-defined]


@contextlib.contextmanager
def _descriptors(chatter: Chatter) -> Iterator[None]:
    """Collect what native code writes to the file descriptors 1 and 2: the TorchScript exporter prints its graph so."""
    try:
        saved = {descriptor: os.dup(descriptor) for descriptor in (1, 2)}
    except OSError:  # a process without a terminal or a pipe has nothing to keep quiet
        yield
        return
    with tempfile.TemporaryFile() as file:
        _flush()
        try:
            for descriptor in saved:
                os.dup2(file.fileno(), descriptor)
            yield
        finally:
            _flush()
            for descriptor, original in saved.items():
                os.dup2(original, descriptor)
                os.close(original)
            file.seek(0)
            chatter.native = file.read().decode(errors="replace")


def _flush() -> None:
    """Empty the buffers of Python's and of C's own streams."""
    for stream in (sys.__stdout__, sys.__stderr__, sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):  # closed, or somebody's stand-in
            stream.flush()  # type: ignore[union-attr]
    with contextlib.suppress(Exception):
        ctypes.CDLL(None).fflush(None)


def _tells(warning: warnings.WarningMessage) -> bool:
    """Deprecations of a converter's own code say nothing about the model."""
    return not issubclass(warning.category, (DeprecationWarning, PendingDeprecationWarning, FutureWarning))


def _warning_line(warning: warnings.WarningMessage) -> str:
    text = " ".join(plain(str(warning.message)).split())
    return f"{warning.category.__name__} at {warning.filename}:{warning.lineno}: {text[:400]}"
