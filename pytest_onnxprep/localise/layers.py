"""Which layer of the framework's model a node came from, as far as the file itself tells."""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, NamedTuple

from pytest_onnxprep.sources.trace import source_line

_FRAME = re.compile(r'File "(.+?)", line (\d+), in [^\n]*(?:\n +([^\n]+))?')
#: Code between the user and the graph: the frameworks, and this package.
_FOREIGN = ("/torch/", "/onnxscript/", "/tensorflow/", "/keras/", "/pytest_onnxprep/", "/<")
#: What TensorFlow wraps around every function it saves.
_CALLS = ("StatefulPartitionedCall", "PartitionedCall")


class Layer(NamedTuple):
    """A place in the framework's model.

    Args:
        path: ``encoder.layers.0.norm``; empty where nothing tells.
        kind: class of that layer, ``LayerNorm``; empty where nothing tells.
        line: source line, ``model.py:41  x = self.norm(x)``; empty where nothing tells.
    """

    path: str = ""
    kind: str = ""
    line: str = ""

    def __str__(self) -> str:
        return f"{self.path} ({self.kind})" if self.path and self.kind else self.path or self.kind


def layer_of_node(node: Any) -> Layer:
    """The layer of a node: from the metadata torch's exporter writes, else from its name.

    Names are taken as they stand: tf2onnx's ``cnn_1/relu_1/Relu`` gives ``cnn_1/relu_1``, jax2onnx's ``node_Add_3``
    tells nothing.
    """
    noted = noted_layer(node)
    return noted if noted.path else noted._replace(path=_path(node.name))


def noted_layer(node: Any) -> Layer:
    """The layer of a node as torch's exporter notes it in the file."""
    notes = {entry.key: entry.value for entry in node.metadata_props}
    return Layer(*_scope(notes), _line(notes))


def _scope(notes: Mapping[str, str]) -> tuple[str, str]:
    """Path and class of the innermost module; the last entry of both lists is the operator itself."""
    scopes, kinds = (_listed(notes.get(f"pkg.torch.onnx.{key}", "")) for key in ("name_scopes", "class_hierarchy"))
    named = [index for index, scope in enumerate(scopes[:-1]) if scope and not _is_nobodys(scope)]
    if not named:
        return "", ""
    kind = kinds[named[-1]].rpartition(".")[2] if len(kinds) == len(scopes) else ""
    return scopes[named[-1]].removeprefix("model."), kind


def _is_nobodys(scope: str) -> bool:
    """The wrapper the exporter was handed, and what torch writes for sizes it computes itself."""
    return scope == "model" or scope.startswith("_empty_nn_module_stack")


def _listed(text: str) -> list[str]:
    with suppress(ValueError, SyntaxError):
        found = ast.literal_eval(text)
        return [str(one) for one in found] if isinstance(found, list) else []
    return []


def _line(notes: Mapping[str, str]) -> str:
    frames = _FRAME.findall(notes.get("pkg.torch.onnx.stack_trace", ""))
    mine = [frame for frame in frames if not any(part in f"/{frame[0]}" for part in _FOREIGN)]
    return source_line(mine[-1][0], int(mine[-1][1]), mine[-1][2]) if mine else ""


def _path(name: str) -> str:
    """The layer in names such as ``/model/blocks/blocks.0/norm1/Add`` or ``net/dense_1/MatMul``."""
    parts = [part for part in name.split("/")[:-1] if part]
    if not name.startswith("/"):
        return "/".join(part for part in parts if part not in _CALLS)
    path = ""
    for part in parts[1:] if parts[:1] == ["model"] else parts:
        # torch repeats a container's name in its child's: blocks, then blocks.0
        if path and part.startswith(f"{path.rpartition('.')[2]}."):
            path = f"{path.rpartition('.')[0]}.{part}".removeprefix(".")
        else:
            path = f"{path}.{part}".removeprefix(".")
    return path
