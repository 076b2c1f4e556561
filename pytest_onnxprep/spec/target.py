"""A device profile: what a target offers a model, read from TOML.

Every quantity carries its unit, so that nobody has to guess: ``memory = "3500 MB"``, ``deadline = "100 ms"``.
"""

from __future__ import annotations

import math
import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from pytest_onnxprep.spec.errors import SpecError, closest
from pytest_onnxprep.spec.operators_request import operator_names

#: unit -> bytes. MB is 10**6 bytes here as everywhere in this package.
_BYTES = {"B": 1, "kB": 10**3, "MB": 10**6, "GB": 10**9, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}
#: unit -> milliseconds.
_TIMES = {"us": 1e-3, "ms": 1.0, "s": 1e3, "min": 6e4}
_DEGREES = {"C": 1.0}
_QUANTITY = re.compile(r"\s*([0-9]+(?:[._][0-9]+)*)\s*(\S*)\s*")

#: Accelerators whose operators ONNX Runtime's mobile checker knows, and the file of that checker.
ACCELERATORS = {
    "nnapi": "nnapi_supported_ops.md",
    "coreml-neuralnetwork": "coreml_supported_neuralnetwork_ops.md",
    "coreml-mlprogram": "coreml_supported_mlprogram_ops.md",
}


@dataclass(frozen=True)
class Target:
    """What a device offers one model. None: nothing is said, and nothing is held to it.

    Args:
        name: short, as written on the command line.
        title: what the device is called.
        cores: CPU cores the model may use.
        memory_bytes: memory one process that holds the runtime and the model may take.
        overcommits: whether its system hands out more memory than it has, as Linux does; else what is reserved counts.
        disk_bytes: room for the file and its external data.
        provider: execution provider of the device's ONNX Runtime.
        opset_max: newest opset that runtime reads.
        allowed: operators that runtime has; None for all of them.
        forbidden: operators it does not have.
        domains: operator domains beside ONNX's own that it has; None where that is left open.
        accelerator: a key of `ACCELERATORS`.
        accelerator_required: whether the model does not fit where the accelerator is of no use to it.
        startup_ms: loading the model and running it once.
        deadline_ms: one run.
        throttles_at_c: temperature at which the device slows down.
        speed_factor: measured by the user: time on the device / time on the machine that runs the tests.
        sustained_factor: measured by the user: time when hot / time when cold, on the device.
        measured_how: what the user says of these two.
        path: where this was read.
    """

    name: str
    title: str = ""
    cores: int | None = None
    memory_bytes: int | None = None
    overcommits: bool = True
    disk_bytes: int | None = None
    provider: str | None = None
    opset_max: int | None = None
    allowed: tuple[str, ...] | None = None
    forbidden: tuple[str, ...] = ()
    domains: tuple[str, ...] | None = None
    accelerator: str | None = None
    accelerator_required: bool = False
    startup_ms: float | None = None
    deadline_ms: float | None = None
    throttles_at_c: float | None = None
    speed_factor: float | None = None
    sustained_factor: float | None = None
    measured_how: str = ""
    path: str = field(default="", compare=False)

    @property
    def time_factor(self) -> float | None:
        """What a time of this machine is multiplied with; None where nobody has measured it."""
        if self.speed_factor is None:
            return None
        return self.speed_factor * (self.sustained_factor or 1.0)


def read_target(text: str, name: str, path: str = "") -> Target:
    """Read a device profile.

    Args:
        text: the TOML.
        name: what to call it.
        path: where it was read, for messages.

    Raises:
        SpecError: with file, line and what is accepted.
    """
    shown = path or f"target {name!r}"
    try:
        tables = tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # TOMLDecodeError, and numbers and nesting beyond Python's own limits
        raise SpecError(f"{shown}: {error}") from None
    arguments: dict[str, Any] = {}
    for table, value in tables.items():
        if table == "title":
            arguments["title"] = _at(shown, text, "", table, _text, value)
            continue
        where = f"{shown}:{_line_of(text, table, '')}"
        if table not in _KEYS or not isinstance(value, Mapping):
            known = [*_KEYS, "title"]
            if table in _KEYS:
                raise SpecError(f"{where}: {table!r} must be one table, [{table}], not {type(value).__name__}")
            what = "key" if not isinstance(value, Mapping) else "table"
            accepted = f"accepted: title, {', '.join(f'[{one}]' for one in _KEYS)}"
            raise SpecError(f"{where}: unknown {what} {table!r}{closest(table, known)} {accepted}")
        for key, entry in value.items():
            if key not in _KEYS[table]:
                accepted = f"accepted in [{table}]: {', '.join(_KEYS[table])}"
                hint = closest(key, _KEYS[table])
                raise SpecError(f"{shown}:{_line_of(text, table, key)}: unknown key {key!r}{hint} {accepted}")
            target_field, read = _KEYS[table][key]
            arguments[target_field] = _at(shown, text, table, key, read, entry)
    if not arguments.keys() - {"title", "measured_how"}:
        raise SpecError(f"{shown}: the profile says nothing of the device; accepted: [{'], ['.join(_KEYS)}]")
    return _checked(Target(name, path=path, **arguments), shown)


def _checked(target: Target, shown: str) -> Target:
    if target.sustained_factor is not None and target.speed_factor is None:
        raise SpecError(f"{shown}: [measured] sustained_factor needs speed_factor beside it")
    if target.accelerator_required and target.accelerator is None:
        raise SpecError(f"{shown}: [operators] accelerator_required needs accelerator beside it")
    return target


def _at(shown: str, text: str, table: str, key: str, read: Callable[[str, Any], Any], value: Any) -> Any:
    try:
        return read(key, value)
    except SpecError as error:
        inside = f"[{table}] " if table else ""
        raise SpecError(f"{shown}:{_line_of(text, table, key)}: {inside}{error}") from None
    except (OverflowError, ValueError, RecursionError):
        where = f"{shown}:{_line_of(text, table, key)}"
        raise SpecError(f"{where}: [{table}] {key} is beyond what any device has") from None


def _line_of(text: str, table: str, key: str) -> int:
    """The line of a key, or of a table's head; tomllib does not tell."""
    inside = ""
    for number, line in enumerate(text.splitlines(), start=1):
        head = re.match(r"\s*\[\s*([\w.-]+)\s*\]", line)
        if head:
            inside = head[1]
            if not key and inside == table:
                return number
        elif re.match(rf"\s*[\"']?{re.escape(key or table)}[\"']?\s*=", line) and inside == (table if key else ""):
            return number
    return 1


def _text(key: str, value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise SpecError(f"{key} must be a text, not {value!r}")
    return value


def _count(key: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise SpecError(f"{key} must be a whole number >= 1, not {value!r}")
    return value


def _flag(key: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise SpecError(f"{key} must be true or false, not {value!r}")
    return value


def read_factor(key: str, value: Any) -> float:
    """A positive number without a unit.

    Raises:
        SpecError: anything else.
    """
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value) or value <= 0:
        raise SpecError(f"{key} must be a positive number (time on the device / time on this machine), not {value!r}")
    return float(value)


def _quantity(units: Mapping[str, float], example: str) -> Callable[[str, Any], float]:
    def read(key: str, value: Any) -> float:
        accepted = f"accepted: a number with one of {', '.join(units)}, such as {key} = {example!r}"
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            raise SpecError(f"{key} = {value!r} has no unit; {accepted}")
        found = _QUANTITY.fullmatch(value) if isinstance(value, str) else None
        if found is None:
            raise SpecError(f"{key} = {value!r} is no quantity; {accepted}")
        number, unit = float(found[1].replace("_", "")), found[2]
        if unit not in units:
            near = next((known for known in units if known.lower() == unit.lower()), "")
            hint = f"; did you mean {near!r}?" if near else ";" if unit else ""
            problem = f"has the unknown unit {unit!r}{hint}" if unit else "has no unit;"
            raise SpecError(f"{key} = {value!r} {problem} {accepted}")
        if number <= 0:
            raise SpecError(f"{key} = {value!r} must be more than nothing")
        return number * units[unit]

    return read


def _bytes(key: str, value: Any) -> int:
    return round(_quantity(_BYTES, "512 MB")(key, value))


def _names(key: str, value: Any) -> tuple[str, ...]:
    return operator_names(key, value)


def _domains(key: str, value: Any) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
        raise SpecError(f"{key} must be a list of operator domains such as ['com.microsoft'], not {value!r}")
    return tuple("" if name == "ai.onnx" else name for name in value)


def _accelerator(key: str, value: Any) -> str:
    if value not in ACCELERATORS:
        raise SpecError(f"{key} must be one of {', '.join(ACCELERATORS)}, not {value!r}")
    return str(value)


#: table -> key -> (field of `Target`, how it is read).
_KEYS: dict[str, dict[str, tuple[str, Callable[[str, Any], Any]]]] = {
    "hardware": {
        "cores": ("cores", _count),
        "memory": ("memory_bytes", _bytes),
        "overcommits": ("overcommits", _flag),
        "disk": ("disk_bytes", _bytes),
    },
    "runtime": {
        "provider": ("provider", _text),
        "opset_max": ("opset_max", _count),
    },
    "operators": {
        "allowed": ("allowed", _names),
        "forbidden": ("forbidden", _names),
        "domains": ("domains", _domains),
        "accelerator": ("accelerator", _accelerator),
        "accelerator_required": ("accelerator_required", _flag),
    },
    "limits": {
        "startup": ("startup_ms", _quantity(_TIMES, "2 s")),
        "deadline": ("deadline_ms", _quantity(_TIMES, "100 ms")),
        "throttles_at": ("throttles_at_c", _quantity(_DEGREES, "80 C")),
    },
    "measured": {
        "speed_factor": ("speed_factor", read_factor),
        "sustained_factor": ("sustained_factor", read_factor),
        "how": ("measured_how", _text),
    },
}
