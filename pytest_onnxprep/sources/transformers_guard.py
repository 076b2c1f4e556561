"""Transformers folders and configs made elsewhere: looked into before Transformers follows them."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pytest_onnxprep.errors import SourceError
from pytest_onnxprep.sources.torch_pickle import named_in_pickle
from pytest_onnxprep.sources.trial import failure_of, limits
from pytest_onnxprep.spec.visible import visible

WEIGHTS = (".safetensors", ".bin")
_LARGEST = 32 << 20
_MOST_LAYERS = 10_000
#: Words in the names of such numbers.
_COUNTS = ("layer", "depth", "blocks", "experts")
#: Parameters for each byte of weights, beyond the first ten million: of four bits each, and some of them tied.
_MOST_TIMES = 4
_FREE = 10_000_000
#: Parameters of a model that is made of a file without weights: more take minutes.
_MOST_AT_RANDOM = 1_000_000_000
_COUNT = "parameters: "
_HARMLESS = ("torch.", "collections.OrderedDict")


def check_config(path: Path) -> dict[str, Any]:
    """Read a ``config.json``.

    Raises:
        SourceError: it is none, or asks for more layers than any model has.
    """
    if not path.is_file():
        raise SourceError(f"source {str(path)!r} is no file")
    try:
        if path.stat().st_size > _LARGEST:
            raise ValueError("it is larger than any model needs")
        config = json.loads(path.read_bytes())
        if not isinstance(config, dict):
            raise ValueError(f"it holds {json.dumps(config)[:40]}, and no description of a model")
    except (OSError, ValueError, RecursionError) as error:
        raise SourceError(f"source {str(path)!r} is damaged: {error}; save the model again") from None
    for name, value in _numbers(config):
        if any(word in name for word in _COUNTS) and "norm" not in name and abs(value) > _MOST_LAYERS:
            raise SourceError(f"source {str(path)!r} is refused: {name} is {value}, and no model has as many")
    return config


def _numbers(config: dict[str, Any]) -> Iterator[tuple[str, int]]:
    for name, value in config.items():
        if isinstance(value, dict):
            yield from _numbers(value)
        else:
            yield from ((name, number) for number in (value if isinstance(value, list) else [value]) if _is_int(number))


def _is_int(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def check_weights(folder: Path, config: dict[str, Any]) -> int:
    """The bytes of a folder's weights.

    Raises:
        SourceError: it has none, or they lie elsewhere.
    """
    if (folder / "adapter_config.json").exists():
        raise SourceError(
            f"source {str(folder)!r} is refused: its adapter_config.json makes it an adapter to another model; merge "
            "the two (merge_and_unload of peft), save the result and give that"
        )
    found = {file for file in folder.iterdir() if file.suffix in WEIGHTS}
    indices = [file for file in folder.iterdir() if file.name.endswith((".safetensors.index.json", ".bin.index.json"))]
    named = [name for index in indices for name in _named(index)]
    if isinstance(config.get("transformers_weights"), str):
        named.append(config["transformers_weights"])
    root = _root(folder)
    for file in [*sorted(found), *indices, *(folder / name for name in named)]:
        if not file.resolve().is_relative_to(root):
            raise SourceError(f"source {str(folder)!r} is refused: its weights {str(file)!r} lie outside of it")
    if not found and not named:
        raise SourceError(
            f"{str(folder)!r} holds no weights (*.safetensors); give {str(folder / 'config.json')!r} for a model of "
            "this config with random weights"
        )
    files = {file.resolve() for file in [*found, *(folder / name for name in named)]}
    return sum(file.stat().st_size for file in files if file.is_file())


def _named(index: Path) -> set[str]:
    """The files that an index of weights names."""
    described: Any = None
    try:
        if index.stat().st_size <= _LARGEST * 8:
            described = json.loads(index.read_bytes())["weight_map"]
        return {str(name) for name in described.values()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise SourceError(
            f"source {str(index)!r} is damaged: it is no index of weights; save the model again"
        ) from None


def _root(folder: Path) -> Path:
    """Where a folder's files may lie: in it, or where it is a snapshot of the hub's cache, in that repository's."""
    real = folder.resolve()
    return real.parent.parent if real.parent.name == "snapshots" else real


def try_building(path: Path, weights: int | None) -> None:
    """Build a model without its weights in a child process, and hold its size to them, or to the memory there is.

    Args:
        path: the ``config.json``.
        weights: their bytes; None for a model with random weights.

    Raises:
        SourceError: it is larger, or building it does not come to an end.
    """
    free = _free_memory()
    # Of the free memory the half: an exporter makes copies.
    most = _FREE + _MOST_TIMES * weights if weights is not None else min(_MOST_AT_RANDOM, free // 8)
    failed = failure_of(build_apart, str(path), most, **limits(weights or 0))
    if not failed:
        return
    if failed.startswith(_COUNT):
        count = float(failed.removeprefix(_COUNT))
        given = f"its weights have {(weights or 0) / 1e6:.3g} MB"
        if weights is None:
            given = f"no more than {most / 1e6:,.0f} million are made at random; give a factory, or the folder"
        raise SourceError(
            f"source {str(path)!r} is refused: it describes a model of {count / 1e6:,.0f} million parameters "
            f"({count * 4 / 1e9:,.2f} GB), and {given}"
        )
    raise SourceError(f"source {str(path)!r} is refused: building the model that it describes, {failed}")


def prepare() -> None:
    """Load what the trial needs; see `trial`."""
    import torch  # noqa: F401
    import transformers

    for name in ("PreTrainedModel", "GenerationMixin", "BertModel"):  # with all that these import, which takes seconds
        getattr(transformers, name)


def build_apart(file: str, most: int) -> None:
    """Build the model of a config without memory for its parameters, and count these; for a child process.

    What Transformers merely refuses is no failure here.
    """
    import torch
    import transformers

    from pytest_onnxprep.sources.transformers_model import architecture_of

    try:
        config = transformers.AutoConfig.from_pretrained(file, local_files_only=True, trust_remote_code=False)
        architecture = architecture_of(config, file)
        try:
            with torch.device("meta"):
                model = architecture(config)
        except Exception:  # some compute with what they have made: within the memory of a trial, then
            model = architecture(config)
        count = sum(parameter.numel() for parameter in model.parameters())
    except Exception as error:
        if isinstance(error, MemoryError) or "can't allocate memory" in str(error):
            raise MemoryError from None
        return
    if count > most:
        raise ValueError(f"{_COUNT}{count}")


def _free_memory() -> int:
    try:
        with open("/proc/meminfo", encoding="ascii") as file:
            found = re.search(r"MemAvailable:\s+(\d+) kB", file.read())
    except OSError:
        found = None
    return int(found[1]) << 10 if found else os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def told(path: Path, error: Exception) -> str:
    """What Transformers refused, and what to do."""
    text = " ".join(visible(str(error)).split())
    start = f"source {str(path)!r}"
    if "trust_remote_code" in text or "contains custom code" in text:
        return (
            f"{start} brings Python code of its own (auto_map in its config.json), which was not run; where you have "
            "read that code, load the model in a factory of yours"
        )
    if "Weights only load failed" in text or "weights_only" in text:
        pickles = sorted(file for file in path.iterdir() if file.match("pytorch_model*.bin")) if path.is_dir() else []
        named = [name for file in pickles for name in named_in_pickle(file).names if not name.startswith(_HARMLESS)]
        would = f" ({', '.join(named[:3])})" if named else ""
        return (
            f"{start}: its weights ({', '.join(file.name for file in pickles[:2])}) are a pickle of more than tensors"
            f"{would}: reading it runs code, so it was not read. Save them as safetensors: "
            "model.save_pretrained(folder)"
        )
    if "ignore_mismatched_sizes" in text:
        return f"{start}: its weights have other sizes than its config.json describes; save both together again"
    if isinstance(error, ImportError):
        text = text if len(text) < 200 else f"{text[:199]}…"
        return f"{start} needs a package that is not installed here: {text}"
    said = text if text and len(text) < 300 else f"{text[:299]}…" if text else "no reason was given"
    return f"{start} cannot be read as a transformers model: {type(error).__name__}: {said}"
