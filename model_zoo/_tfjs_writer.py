"""Writes TensorFlow.js graph models as tensorflowjs_converter does, whose package is too old for this TensorFlow."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

#: What TensorFlow.js holds weights in.
_DTYPES = ("float32", "int32", "bool")


def write_graph_model(function: Any, folder: Path) -> Path:
    """Write a traced function: its graph, frozen and folded, as JSON, and the weights in one file beside it.

    Args:
        function: a concrete function with named inputs, which returns a dict.
        folder: where to; it is made.

    Returns:
        The path of `model.json`.
    """
    import tensorflow as tf
    from google.protobuf.json_format import MessageToJson
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    frozen = convert_variables_to_constants_v2(function)
    names = sorted(function.structured_outputs)  # TensorFlow flattens dicts in the order of their keys
    ends = {
        "inputs": {tensor.op.name: tensor for tensor in frozen.inputs},
        "outputs": dict(zip(names, frozen.outputs, strict=True)),
    }
    kept = [tensor.op.name for tensors in ends.values() for tensor in tensors.values()]
    graph, weights = _folded(frozen.graph.as_graph_def(), kept), []
    for node in graph.node:
        for key in [key for key in node.attr if key.startswith("_")]:  # shapes and devices of this process
            del node.attr[key]
        if node.op != "Const":
            continue
        array = tf.make_ndarray(node.attr["value"].tensor)
        if array.dtype.name not in _DTYPES:
            raise ValueError(f"constant {node.name!r} is {array.dtype.name}; TensorFlow.js has {', '.join(_DTYPES)}")
        weights.append((node.name, array))
        node.attr["value"].tensor.ClearField("tensor_content")
        for field in ("float_val", "int_val", "bool_val"):
            node.attr["value"].tensor.ClearField(field)
    described = {
        "format": "graph-model",
        "generatedBy": tf.__version__,
        "convertedBy": "model_zoo",
        "modelTopology": json.loads(MessageToJson(graph, sort_keys=True)),  # maps have no order
        "signature": {which: {name: _described(one) for name, one in some.items()} for which, some in ends.items()},
        "weightsManifest": [
            {
                "paths": ["group1-shard1of1.bin"],
                "weights": [
                    {"name": name, "shape": list(array.shape), "dtype": array.dtype.name} for name, array in weights
                ],
            }
        ],
    }
    folder.mkdir()
    (folder / "group1-shard1of1.bin").write_bytes(b"".join(array.tobytes() for _, array in weights))
    path = folder / "model.json"
    path.write_text(json.dumps(described), encoding="utf-8")
    return path


def _folded(graph: Any, kept: list[str]) -> Any:
    """The graph after TensorFlow's own optimiser, with the passes that tensorflowjs_converter asks for."""
    import tensorflow as tf
    from tensorflow.core.protobuf import config_pb2, meta_graph_pb2
    from tensorflow.python.grappler import tf_optimizer

    config = config_pb2.ConfigProto()
    config.graph_options.rewrite_options.optimizers.extend(["pruning", "constfold", "arithmetic", "dependency"])
    ends = meta_graph_pb2.CollectionDef()
    ends.node_list.value.extend(kept)
    with tf.Graph().as_default() as imported:
        tf.import_graph_def(graph, name="")
        meta = tf.compat.v1.train.export_meta_graph(graph_def=graph, graph=imported)
    meta.collection_def["train_op"].CopyFrom(ends)
    return tf_optimizer.OptimizeGraph(config, meta)


def _described(tensor: Any) -> dict[str, Any]:
    sizes = [{"size": str(-1 if size is None else size)} for size in tensor.shape.as_list()]
    dtype = {"float32": "DT_FLOAT", "int32": "DT_INT32", "bool": "DT_BOOL"}[tensor.dtype.name]
    return {"name": tensor.name, "dtype": dtype, "tensorShape": {"dim": sizes}}
