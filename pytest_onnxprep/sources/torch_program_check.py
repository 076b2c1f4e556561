"""What a ``.pt2`` file may hold. torch makes Python code of much that stands in one, and runs it.

``torch.export.load`` hands the texts of sizes to ``eval`` and those of guards to ``exec``; it writes names into the
code of a module, imports what the structure of inputs names, looks functions up by their path, and loads compiled
libraries. So everything in a file is held to what torch.export.save writes.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pytest_onnxprep.errors import SourceError
from pytest_onnxprep.runtime.once import once_per_file
from pytest_onnxprep.sources.torch_expressions import PLAIN, is_arithmetic, is_guard
from pytest_onnxprep.sources.torch_operators import allowed
from pytest_onnxprep.sources.torch_reader import Reader

#: Bytes of a description, and of its lists, tables and values: a node takes some 2000 bytes and 100 of these.
_LARGEST_TEXT = 256 << 20
_MOST_PARTS = 4_000_000
#: Bytes that tensors may take beyond what the file holds: those of one value stretched over an axis.
_STRETCHED = 256 << 20
_NAME = r"[\w.-]+"
_ENTRIES = re.compile(
    rf"""
    archive_format | archive_version | byteorder | version
    | \.data/(serialization_id|version) | \.format_version | \.storage_alignment
    | models/{_NAME}\.json
    | data/weights/(weight_\d+ | {_NAME}_weights_config\.json | {_NAME}\.pt)
    | data/constants/(tensor_\d+ | {_NAME}_constants_config\.json | {_NAME}\.pt)
    | data/sample_inputs/{_NAME}\.pt
    | extra/.+
    """,
    re.VERBOSE,
)
#: The entries of a file that torch wrote before 2.8.
_OLD = re.compile(
    r"version|serialized_(exported_program|state_dict|constants|example_inputs)\.(json|pt)|extra_files/.+"
)
_DESCRIPTIONS = re.compile(r"models/.+|data/(weights|constants)/.+_config\.json|serialized_exported_program\.json")
_CODE = re.compile(r"data/aotinductor/.*")
_OBJECTS = re.compile(r"data/constants/(custom|opaque)_obj_.*")
#: Containers in the structure of inputs and outputs that name nothing which is imported.
_DEFAULTS = frozenset(("builtins", "collections"))
_TABLES = frozenset(("tensor_values", "sym_int_values", "sym_float_values", "sym_bool_values", "custom_obj_values"))
_NAMES = frozenset(("name", "as_name", "user_input_name"))
_PATHS = frozenset(("parameter_name", "buffer_name", "tensor_constant_name", "custom_obj_name", "fqn", "class_fqn"))


@once_per_file
def check_program(path: Path) -> None:
    """Refuse a ``.pt2`` file with anything in it that torch.export.save does not write.

    Raises:
        SourceError: there is, or the archive is damaged.
    """
    reader = Reader(path, again="torch.export.save")
    _check_entries(reader)
    for name in reader.names:
        if not _DESCRIPTIONS.fullmatch(name):
            continue
        text = reader.text(name, _LARGEST_TEXT)
        if sum(map(text.count, (b"[", b"{", b","))) > _MOST_PARTS:
            raise SourceError(f"source {str(path)!r} is refused: {name!r} describes more than a program has")
        try:
            described = json.loads(text)
            wrong = (
                next(_stretched(described, reader.bytes), "")
                if name.endswith("_config.json")
                else next(_wrong(described), "")
            )
        except (ValueError, TypeError, AttributeError, KeyError, RecursionError) as error:
            raise reader.damaged(f"{name} is no description of a program ({type(error).__name__})") from None
        if wrong:
            raise SourceError(f"source {str(path)!r} is refused: {wrong}; nothing of it was run")


def _check_entries(reader: Reader) -> None:
    old = "serialized_exported_program.json" in reader.names
    for name in reader.names:
        if _CODE.fullmatch(name):
            raise SourceError(
                f"source {str(reader.path)!r} is refused: it holds compiled libraries ({name!r}), which torch would "
                "load; save the program itself with torch.export.save"
            )
        if _OBJECTS.fullmatch(name):
            raise SourceError(
                f"source {str(reader.path)!r} is refused: it holds Python objects that run code when they are read "
                f"({name!r}); save it without constants of your own classes"
            )
        if not (_OLD if old else _ENTRIES).fullmatch(name):
            raise SourceError(
                f"source {str(reader.path)!r} is refused: it holds {name[:80]!r}, which torch.export.save never writes"
            )


def _wrong(value: Any) -> Iterator[str]:
    """What in a description is more than a program, in words."""
    if isinstance(value, list):
        for inner in value:
            yield from _wrong(inner)
    elif isinstance(value, dict):
        if "nodes" in value and "tensor_values" in value:
            yield from _free_texts(value.get("inputs"))
        for key, inner in value.items():
            yield from _wrong_entry(key, inner)


def _wrong_entry(key: str, value: Any) -> Iterator[str]:
    if isinstance(value, str):
        if key == "expr_str" and not is_arithmetic(value):
            yield f"what should be the size of a tensor is code ({value[:80]!r})"
        elif key in ("target", "as_operator") and (why := allowed(value)):
            yield f"a node calls {value[:80]!r}, {why}"
        elif key in ("in_spec", "out_spec"):
            yield from _wrong_structure(json.loads(value)[1])
        elif key in _NAMES and value and not value.isidentifier():
            yield f"{value[:80]!r} stands where a name should"
        elif key in _PATHS and not PLAIN.fullmatch(value):
            yield f"{value[:80]!r} stands where the name of a tensor should"
    elif key == "metadata" and isinstance(value, dict) and all(isinstance(text, str) for text in value.values()):
        return  # shown, never run; a value of that name is no table of texts
    else:
        if key == "guards_code":
            yield from (
                f"a condition on its inputs is code ({str(text)[:80]!r})" for text in value if not is_guard(text)
            )
        elif key == "forward_arg_names":
            yield from (f"{name[:80]!r} stands where a name should" for name in value or () if not name.isidentifier())
        elif key == "range_constraints":
            ends = [end for limits in value.values() for end in limits.values()]
            yield from (f"{end[:80]!r} stands where a size should" for end in ends if isinstance(end, str))
        elif key == "constant_input":
            yield from _free_texts(value)
        elif key in _TABLES:
            yield from (f"{name[:80]!r} stands where a name should" for name in value if not name.isidentifier())
        yield from _wrong(value)  # a value in the program may have any of these names


def _free_texts(value: Any) -> Iterator[str]:
    """Values of inputs: torch puts them into quotes, in code."""
    if isinstance(value, str) and not PLAIN.fullmatch(value):
        yield f"an input is the text {value[:80]!r}, with quotes that torch would put into code"
    for inner in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from _free_texts(inner)


def _wrong_structure(spec: Any, place: str = "") -> Iterator[str]:
    """Of a pytree: contexts are JSON in JSON, and may name modules."""
    kind, context = spec["type"], spec["context"]
    if isinstance(context, str):
        try:
            context = json.loads(context)
        except ValueError:  # the name of a named tuple
            context = [context]
    if kind == "collections.defaultdict":
        if context.get("default_factory_module") not in _DEFAULTS:
            yield f"its inputs name {str(context.get('default_factory_module'))[:80]!r}, which torch would import"
        context = context.get("dict_context")
    if any("__enum__" in table for table in _dicts(context)):
        yield "its inputs name an Enum, whose module torch would import"
    for key in context if isinstance(context, list) else ():
        if unfit_key(key) or (place == "/1" and isinstance(key, str) and not key.isidentifier()):
            yield f"{str(key)[:80]!r} stands where the name of an input should"
    for index, inner in enumerate(spec["children_spec"]):
        yield from _wrong_structure(inner, f"{place}/{index}")


def _dicts(value: Any) -> Iterator[dict[str, Any]]:
    if isinstance(value, dict):
        yield value
    for inner in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from _dicts(inner)


def unfit_key(key: Any) -> bool:
    """Whether a key of a table of inputs could end the quotes that torch puts it into."""
    if isinstance(key, str):
        return not PLAIN.fullmatch(key)
    if isinstance(key, (list, tuple)):
        return any(unfit_key(part) for part in key)
    return not (key is None or isinstance(key, (int, float)))


def unfit_keys(value: Any) -> bool:
    """Whether a value that was read from a file holds such a key."""
    if isinstance(value, Mapping):
        return any(unfit_key(key) for key in value) or any(unfit_keys(inner) for inner in value.values())
    return isinstance(value, (list, tuple)) and any(unfit_keys(inner) for inner in value)


def _stretched(config: Any, held: int) -> Iterator[str]:
    """Tensors that would take far more than the file has; entries that are none of tensors."""
    total = 0
    for name, entry in config["config"].items():
        if not re.fullmatch(r"weight_\d+|tensor_\d+", entry["path_name"]):
            yield f"the tensor {name[:80]!r} is kept in {entry['path_name'][:80]!r}, where torch keeps none"
        elements = 1
        for size in (entry.get("tensor_meta") or {}).get("sizes", ()):
            elements *= max(0, int(size["as_int"]))
        total += elements
        if not PLAIN.fullmatch(name):
            yield f"{name[:80]!r} stands where the name of a tensor should"
        if total > 8 * held + _STRETCHED:
            yield f"its tensors would take {total / 1e9:.1f} GB or more, and it holds {held / 1e6:.1f} MB"
