"""The smallest model that still shows a failure, ready for a bug tracker."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import numpy as np

from pytest_onnxprep.localise.graph import Graph
from pytest_onnxprep.localise.probe import Probe

MODEL = "subgraph.onnx"
_LARGEST_BYTES = 200_000_000

_READ_ME = """\
{title}

subgraph.onnx           the nodes {nodes}
subgraph_feeds.npz      what they read, as ONNX Runtime computed it up to there
subgraph_expected.npz   {expected}
Names of arrays that are no file names are in subgraph.json.
"""


def write_subgraph(
    probe: Probe, nodes: list[int], outputs: list[str], expected: Mapping[str, np.ndarray], folder: Path, title: str
) -> Path | None:
    """Cut some nodes out of the graph and write them with their inputs.

    Args:
        probe: fetches what the nodes read.
        nodes: which.
        outputs: what they are to return.
        expected: the framework's values of these, where known.
        folder: where the files go.
        title: one line.

    Returns:
        The model's path; None where it would be too large or its inputs cannot be had.
    """
    import onnx

    graph = probe.graph
    chosen = nodes_with_constants(graph, nodes)
    made = {name for index in chosen for name in graph.nodes[index].output}
    outside = [n for index in chosen for n in graph.reads[index] if n not in made and n not in graph.initializers]
    feeds = probe.fetch(dict.fromkeys(outside))
    if set(outside) - set(feeds) or sum(array.nbytes for array in feeds.values()) > _LARGEST_BYTES:
        return None
    model = graph.cut(chosen, feeds, outputs)
    if sum(_bytes(tensor) for tensor in model.graph.initializer) > _LARGEST_BYTES:
        return None
    for tensor in model.graph.initializer:
        if tensor.external_data:
            array = onnx.numpy_helper.to_array(tensor, str(probe.folder))
            tensor.CopyFrom(onnx.numpy_helper.from_array(array, tensor.name))
    _type_outputs(model, probe, outputs)
    folder.mkdir(parents=True, exist_ok=True)
    onnx.save(model, str(folder / MODEL))
    names = {"subgraph_feeds.npz": _save(folder / "subgraph_feeds.npz", feeds)}
    if expected:
        names["subgraph_expected.npz"] = _save(folder / "subgraph_expected.npz", expected)
    (folder / "subgraph.json").write_text(json.dumps(names, indent=2), encoding="utf-8")
    told = "what the framework has there" if expected else "not written: the framework's own value is not known there"
    listed = ", ".join(graph.label(index) for index in nodes)
    text = _READ_ME.format(title=title, nodes=listed, expected=told)
    (folder / "subgraph.txt").write_text(text, encoding="utf-8")
    return folder / MODEL


def nodes_with_constants(graph: Graph, nodes: list[int]) -> list[int]:
    """The nodes and the constants they read."""
    found = set(nodes)
    for index in nodes:
        for before in graph.before(index):
            if before in graph.constant:
                found |= graph.ancestors([before])
    return sorted(found)


def _type_outputs(model: Any, probe: Probe, outputs: list[str]) -> None:
    """Outputs without a type load in ONNX Runtime, but not in every other tool."""
    import onnx

    found = probe.fetch(outputs)
    known = {value.name: value for value in (*probe.graph.proto.graph.value_info, *probe.graph.proto.graph.output)}
    for value in model.graph.output:
        if value.name in found:
            kind = onnx.helper.np_dtype_to_tensor_dtype(found[value.name].dtype)
            value.CopyFrom(onnx.helper.make_tensor_value_info(value.name, kind, [None] * found[value.name].ndim))
        elif value.name in known:
            value.CopyFrom(known[value.name])


def _bytes(tensor: Any) -> int:
    for entry in tensor.external_data:
        if entry.key == "length":
            return int(entry.value)
    return len(tensor.raw_data)


def _save(path: Path, arrays: Mapping[str, np.ndarray]) -> dict[str, str]:
    keys = {_key(name, index): name for index, name in enumerate(arrays)}
    plain = {key: _plain(arrays[name]) for key, name in keys.items()}
    with path.open("wb") as file:
        np.savez(file, **cast(Any, plain))
    return keys


def _key(name: str, index: int) -> str:
    return name if re.fullmatch(r"[A-Za-z]\w*", name) and name not in ("file", "allow_pickle") else f"t{index}"


def _plain(array: np.ndarray) -> np.ndarray:
    """An array that ``np.load`` reads without pickle."""
    return array.astype(np.float32) if array.dtype.name == "bfloat16" else array
