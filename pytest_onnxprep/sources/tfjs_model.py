"""A TensorFlow.js graph model: ``model.json`` with its weights beside it, run by TensorFlow.js under node."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from pytest_onnxprep.errors import SourceError
from pytest_onnxprep.sources.base import Arrays, Feeds, Source, name_outputs
from pytest_onnxprep.sources.source_code import Digest
from pytest_onnxprep.sources.tfjs_node import Node
from pytest_onnxprep.spec.signature import Signature
from pytest_onnxprep.spec.tensor import TensorSpec

_LARGEST = 512 << 20
_DTYPES = {"DT_FLOAT": "float32", "DT_INT32": "int32", "DT_BOOL": "bool", "1": "float32", "3": "int32", "10": "bool"}
#: Bytes of one element of a weight; texts have their lengths beside them.
_BYTES = {"float32": 4, "int32": 4, "bool": 1, "complex64": 8, "float16": 2, "uint16": 2, "uint8": 1}


def load(path: Path) -> TfjsSource:
    """Make a source of a ``model.json``.

    Raises:
        SourceError: it is damaged, of another format, or its weights are not beside it.
    """
    try:
        if path.stat().st_size > _LARGEST:
            raise ValueError("it is larger than 512 MB")
        described = json.loads(path.read_bytes())
        topology, manifest = described["modelTopology"], described["weightsManifest"]
        shards = [path.parent / name for group in manifest for name in group["paths"]]
        weights = [weight["name"] for group in manifest for weight in group["weights"]]
        needed = [_bytes_of(group["weights"]) for group in manifest]
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise SourceError(f"source {str(path)!r} is damaged, or no TensorFlow.js model: {error}") from None
    if "node" not in topology:
        raise SourceError(
            f"source {str(path)!r} is a layers model, and tf2onnx reads graph models only: convert it with "
            "tensorflowjs_converter --input_format=tfjs_layers_model --output_format=tfjs_graph_model"
        )
    if not _is_graph(topology["node"]) or not _is_signature(described.get("signature")):
        raise SourceError(
            f"source {str(path)!r} is damaged: its nodes or its signature are none; convert the model again"
        )
    folder = path.parent.resolve()
    for shard in shards:
        if not shard.resolve().is_relative_to(folder):
            raise SourceError(f"source {str(path)!r} is refused: its weights {str(shard)!r} lie outside its folder")
        if not shard.is_file():
            raise SourceError(f"source {str(path)!r} lacks its weights: {shard.name!r} is not beside it")
    for group, size in zip(manifest, needed, strict=True):
        found = sum((path.parent / name).stat().st_size for name in group["paths"])
        if size is not None and size != found:
            files = ", ".join(map(repr, group["paths"])) or "no file"
            raise SourceError(
                f"source {str(path)!r} is damaged: its weightsManifest describes {size} bytes of weights, {files} "
                f"{'holds' if len(group['paths']) < 2 else 'hold'} {found}; fetch model and weights again, together"
            )
    return TfjsSource(path, described, shards, weights)


def _bytes_of(weights: list[Mapping[str, Any]]) -> int | None:
    """What a group of weights takes in its files; None where some are texts, whose lengths are not told here.

    Raises:
        ValueError: a shape or a type that no weight has.
    """
    total = 0
    for weight in weights:
        name, shape = weight["name"], weight["shape"]
        dtype = weight.get("quantization", weight)["dtype"]
        if not all(isinstance(size, int) and size >= 0 for size in shape):
            raise ValueError(f"weight {name!r} has the shape {shape}")
        if dtype == "string":
            return None
        if dtype not in _BYTES:
            raise ValueError(f"weight {name!r} is of type {dtype!r}")
        total += math.prod(shape) * _BYTES[dtype]
    return total


class TfjsSource(Source):
    """A graph model.

    Args:
        path: the ``model.json``.
        described: its content.
        shards: the files of its weights.
        weights: their names.
    """

    framework = "tfjs"

    def __init__(self, path: Path, described: dict[str, Any], shards: list[Path], weights: list[str]) -> None:
        self.model = path
        self.label = f"{path.parent.name}/{path.name} (TensorFlow.js)"
        self._described = described
        self._shards = shards
        self._weights = weights

    @cached_property
    def node(self) -> Node:
        """The process that runs it, started on first use."""
        return Node(self.model)

    def derived_signature(self) -> Signature:
        """The inputs of the model's signature, or its placeholders."""
        specs = {}
        for name, described in self.ends("inputs").items():
            shape = described.get("tensorShape", {}).get("dim", [])
            sizes = [int(dim.get("size", 0)) for dim in shape]
            dims = tuple(
                size if size >= 0 else "batch" if axis == 0 else f"{_identifier(name)}_dim{axis}"
                for axis, size in enumerate(sizes)
            )
            kind = str(described.get("dtype", "DT_FLOAT"))
            if kind not in _DTYPES:
                raise SourceError(f"{self.label}: input {name!r} is of type {kind}, which is not taken")
            specs[name] = TensorSpec(_DTYPES[kind], dims)
        return Signature(specs)

    def ends(self, which: str) -> dict[str, dict[str, Any]]:
        """``inputs`` or ``outputs``: name -> the tensor's name in the graph, its type and shape."""
        signature = self._described.get("signature") or {}
        if signature.get(which):
            return dict(signature[which])
        nodes = self._described["modelTopology"]["node"]
        if which == "inputs":
            found = [node for node in nodes if node["op"].startswith("Placeholder")]
        else:
            used = {name.lstrip("^").split(":")[0] for node in nodes for name in node.get("input", ())}
            found = [node for node in nodes if node["name"] not in used]
        return {
            node["name"]: {
                "name": f"{node['name']}:0",
                "dtype": node.get("attr", {}).get("dtype", {}).get("type", "DT_FLOAT"),
                "tensorShape": node.get("attr", {}).get("shape", {}).get("shape", {}),
            }
            for node in found
        }

    def run(self, feeds: Feeds, signature: Signature) -> Arrays:
        """See `Source.run`."""
        inputs, outputs = self.ends("inputs"), self.ends("outputs")
        if set(feeds) != set(inputs) and len(feeds) != len(inputs):
            raise SourceError(f"inputs: {self.label} takes {len(inputs)} ({', '.join(inputs)}), not {len(feeds)}")
        own = feeds if set(feeds) == set(inputs) else dict(zip(inputs, feeds.values(), strict=True))
        given = {inputs[name]["name"]: np.asarray(array) for name, array in own.items()}
        values = self.node.run(given, [described["name"] for described in outputs.values()])
        return dict(name_outputs(list(zip(outputs, values, strict=True)), signature, self.label))

    def fingerprint(self) -> Digest:
        """The bytes of all of its files."""
        digest = hashlib.blake2b(digest_size=20)
        for path in [self.model, *self._shards]:
            digest.update(path.name.encode() + path.read_bytes())
        return Digest(digest.hexdigest(), True)


def _identifier(name: str) -> str:
    return "".join(character if character.isalnum() else "_" for character in name)


def _is_graph(nodes: Any) -> bool:
    """Whether they have what `TfjsSource.ends` reads of them."""
    return isinstance(nodes, list) and all(
        isinstance(node, dict)
        and isinstance(node.get("name"), str)
        and isinstance(node.get("op"), str)
        and all(isinstance(name, str) for name in _listed(node.get("input", [])))
        and _is_deep(node, "attr", "dtype")
        and _is_deep(node, "attr", "shape", "shape", "dim")
        for node in nodes
    )


def _is_signature(signature: Any) -> bool:
    """Likewise."""
    if signature is None:
        return True
    if not isinstance(signature, dict):
        return False
    ends = [signature.get(which) or {} for which in ("inputs", "outputs")]
    return all(isinstance(end, dict) for end in ends) and all(
        isinstance(described, dict)
        and isinstance(described.get("name"), str)
        and _is_deep(described, "tensorShape", "dim")
        for end in ends
        for described in end.values()
    )


def _is_deep(value: Any, *keys: str) -> bool:
    """Whether what is there below each key is a mapping, and sizes a list of these."""
    for key in keys:
        if key not in value:
            return True
        value = value[key]
        if key == "dim":
            return isinstance(value, list) and all(isinstance(size, dict) and _is_size(size) for size in value)
        if not isinstance(value, dict):
            return False
    return True


def _is_size(described: dict[str, Any]) -> bool:
    return str(described.get("size", 0)).removeprefix("-").isdecimal()


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [None]
