"""The record of an export: how it is made, and what one from the cache has to look like."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from pytest_onnxprep.exporters.catalog import ExporterInfo
from pytest_onnxprep.exporters.chatter import Chatter
from pytest_onnxprep.exporters.export_key import installed, provers
from pytest_onnxprep.exporters.job import ExportJob


def record(job: ExportJob, info: ExporterInfo, seconds: float, chatter: Chatter) -> dict[str, Any]:
    """How a file came about."""
    return {
        "source": job.source.label,
        "framework": job.source.framework,
        "exporter": info.name,
        "opset": job.variant.opset,
        "export_s": round(seconds, 3),
        "outputs": job.output_names,
        "traced_at": {name: list(array.shape) for name, array in job.feeds.items()},
        "packages": {name: installed(name) for name in info.packages},
        "converter_output": chatter.lines(),
        "proven_with": provers(),
        **job.notes,
    }


def is_record(provenance: Mapping[str, Any]) -> bool:
    """Whether a record from the cache has the form that checks and reports rely on; one that has not was damaged."""
    return "outputs" in provenance and all(
        name not in provenance or is_such(provenance[name]) for name, is_such in _FORMS.items()
    )


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _are_texts(value: Any) -> bool:
    return isinstance(value, list) and all(map(_is_text, value))


def _are_named(is_such: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, dict) and all(map(is_such, value.values()))


def _are_sizes(value: Any) -> bool:
    return isinstance(value, list) and all(type(size) is int for size in value)


def _are_assumptions(value: Any) -> bool:
    return isinstance(value, list) and all(
        isinstance(each, dict)
        and all(_is_text(each.get(name)) for name in ("guard", "file", "function", "code"))
        and type(each.get("line")) is int
        and isinstance(each.get("minor"), bool)
        and _are_named(_is_text)(each.get("declared"))
        and isinstance(each.get("try"), list)
        and all(map(_are_named(lambda size: type(size) is int), each["try"]))
        for each in value
    )


_FORMS: dict[str, Callable[[Any], bool]] = {
    "source": _is_text,
    "framework": _is_text,
    "exporter": _is_text,
    "opset": lambda value: value is None or type(value) is int,
    "export_s": _is_number,
    "outputs": _are_texts,
    "traced_at": _are_named(_are_sizes),
    "packages": lambda value: isinstance(value, dict),
    "converter_output": _are_texts,
    "narrowed": _are_assumptions,
    "not_isolated": _is_text,
}
