"""Reads what an ONNX file holds, without its weights."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

from pytest_onnxprep.artifacts.onnx_model import DEFAULT_DOMAINS, OnnxModel, all_nodes, tensor_bytes
from pytest_onnxprep.sources.onnx_guard import without_weights
from pytest_onnxprep.spec.description import Coverage, ModelDescription, TensorDescription, Weights

#: Initializers that are listed by name.
_LARGEST = 5


def describe(model: OnnxModel) -> ModelDescription:
    """Describe a file; weights in external data are not read."""
    proto = model.graph_proto
    own = {tensor.name for tensor in proto.graph.initializer}
    initializers = list(_initializers(proto))
    standard = {*DEFAULT_DOMAINS, "ai.onnx.ml", *(function.domain for function in proto.functions)}
    foreign: dict[str, Counter[str]] = {}
    for node in all_nodes(proto):
        if node.domain not in standard:
            foreign.setdefault(node.domain, Counter())[node.op_type] += 1
    folder = model.path.resolve().parent
    return ModelDescription(
        ir_version=int(proto.ir_version),
        producer=f"{proto.producer_name} {proto.producer_version}".strip(),
        opsets={entry.domain or "ai.onnx": int(entry.version) for entry in proto.opset_import},
        inputs=tuple(_of_value(value) for value in proto.graph.input if value.name not in own),
        outputs=tuple(_of_value(value) for value in proto.graph.output),
        metadata={entry.key: entry.value for entry in proto.metadata_props},
        operators=dict(model.operators.most_common()),
        initializers=_by_dtype(initializers),
        largest=tuple(sorted(initializers, key=lambda tensor: -(tensor.bytes or 0))[:_LARGEST]),
        coverage=_coverage(proto),
        custom_domains={domain: dict(counts.most_common()) for domain, counts in sorted(foreign.items())},
        functions={f"{function.domain}.{function.name}": len(function.node) for function in proto.functions},
        external_files={str(path.relative_to(folder)): path.stat().st_size for path in model.files[1:]},
        size_bytes=model.size_bytes,
    )


def _initializers(proto: Any) -> Iterator[TensorDescription]:
    for graph in _graphs(proto):
        for tensor in graph.initializer:
            yield TensorDescription(tensor.name, _dtype(tensor.data_type), tuple(tensor.dims), tensor_bytes(tensor))
        for sparse in graph.sparse_initializer:
            size = tensor_bytes(sparse.values) + tensor_bytes(sparse.indices)
            yield TensorDescription(sparse.values.name, _dtype(sparse.values.data_type), tuple(sparse.dims), size)


def _graphs(proto: Any) -> Iterator[Any]:
    """The graph, then every one within it or within a function."""
    yield proto.graph
    for node in all_nodes(proto):
        for attribute in node.attribute:
            if attribute.HasField("g"):
                yield attribute.g
            yield from attribute.graphs


def _by_dtype(initializers: list[TensorDescription]) -> tuple[Weights, ...]:
    counts: Counter[str] = Counter()
    sizes: Counter[str] = Counter()
    for tensor in initializers:
        counts[tensor.dtype] += 1
        sizes[tensor.dtype] += tensor.bytes or 0
    return tuple(Weights(dtype, counts[dtype], size) for dtype, size in sizes.most_common())


def _coverage(proto: Any) -> Coverage:
    """What shape inference knows; it is given a copy without weights, so it costs the same for any size of model."""
    import onnx

    problem = ""
    try:
        graph = onnx.shape_inference.infer_shapes(without_weights(proto)).graph
    except Exception as error:
        problem = " ".join(str(error).split())[:200]
        graph = proto.graph
    known = {value.name: value.type for value in (*graph.value_info, *graph.output)}
    names = {name for node in proto.graph.node for name in node.output if name}
    types = [known[name] for name in names if name in known and known[name].WhichOneof("value")]
    shapes = [kind.tensor_type.shape for kind in types if kind.tensor_type.HasField("shape")]
    sized = sum(all(dim.HasField("dim_value") or dim.dim_param for dim in shape.dim) for shape in shapes)
    return Coverage(len(names), len(types), len(shapes), sized, problem)


def _of_value(value: Any) -> TensorDescription:
    kind, words = value.type, "{}"
    while kind.WhichOneof("value") in ("sequence_type", "optional_type"):
        which = kind.WhichOneof("value")
        words = words.format(f"{which.removesuffix('_type')}({{}})")
        kind = getattr(kind, which).elem_type
    tensor = kind.sparse_tensor_type if kind.HasField("sparse_tensor_type") else kind.tensor_type
    dims = None
    if tensor.HasField("shape"):
        dims = tuple(_size(dim) for dim in tensor.shape.dim)
    return TensorDescription(value.name, words.format(_dtype(tensor.elem_type)), dims)


def _size(dim: Any) -> int | str | None:
    return int(dim.dim_value) if dim.HasField("dim_value") else str(dim.dim_param) or None


def _dtype(number: int) -> str:
    import onnx

    if number == onnx.TensorProto.STRING:
        return "string"
    try:
        return str(onnx.helper.tensor_dtype_to_np_dtype(number).name)
    except Exception:  # undefined, or of a newer onnx
        return f"type {number}"
