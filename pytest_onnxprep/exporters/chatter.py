"""Converters talk a lot. What they say is kept, and shown only when something fails."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator

_MAX_LINES = 60

#: Loggers that carry handlers of their own and would write past the root logger.
_LOUD = ("absl", "tensorflow", "tf2onnx", "transformers", "torch", "torch.onnx", "onnxscript", "onnx_ir", "jax")


class Chatter:
    """Everything a converter printed, logged or warned, in order."""

    def __init__(self) -> None:
        self.printed = io.StringIO()
        self.logged: list[str] = []
        self.warnings: list[str] = []

    def lines(self) -> list[str]:
        """Warnings first (they name what was frozen), then errors and prints; long output is cut in the middle."""
        printed = [line for line in self.printed.getvalue().splitlines() if line.strip()]
        lines = list(dict.fromkeys([*self.warnings, *self.logged])) + printed
        if len(lines) > _MAX_LINES:
            half = _MAX_LINES // 2
            lines = [*lines[:half], f"... {len(lines) - 2 * half} lines left out ...", *lines[-half:]]
        return lines

    @property
    def text(self) -> str:
        """All lines as one text."""
        return "\n".join(self.lines())


class _Collect(logging.Handler):
    def __init__(self, chatter: Chatter) -> None:
        super().__init__(logging.INFO)
        self.chatter = chatter

    def emit(self, record: logging.LogRecord) -> None:
        with contextlib.suppress(Exception):  # a converter's malformed log call must not break its export
            self.chatter.logged.append(f"{record.levelname} {record.name}: {record.getMessage()}")


@contextlib.contextmanager
def captured() -> Iterator[Chatter]:
    """Collect stdout, stderr, logging and warnings of the body; nothing reaches the terminal."""
    chatter = Chatter()
    handler = _Collect(chatter)
    loggers = [logging.getLogger(), *(logging.getLogger(name) for name in _LOUD)]
    saved = [(logger, logger.handlers, logger.propagate) for logger in loggers]
    with (
        contextlib.redirect_stdout(chatter.printed),
        contextlib.redirect_stderr(chatter.printed),
        warnings.catch_warnings(record=True) as caught,
    ):
        warnings.simplefilter("default")
        try:
            for logger in loggers:
                logger.handlers = [handler] if logger.parent is None else []
                logger.propagate = True
            yield chatter
        finally:
            for logger, handlers, propagate in saved:
                logger.handlers, logger.propagate = handlers, propagate
            chatter.warnings = [_warning_line(warning) for warning in caught if _tells(warning)]


def _tells(warning: warnings.WarningMessage) -> bool:
    """Deprecations of a converter's own code say nothing about the model."""
    return not issubclass(warning.category, (DeprecationWarning, PendingDeprecationWarning, FutureWarning))


def _warning_line(warning: warnings.WarningMessage) -> str:
    text = " ".join(str(warning.message).split())
    return f"{warning.category.__name__} at {warning.filename}:{warning.lineno}: {text[:400]}"
