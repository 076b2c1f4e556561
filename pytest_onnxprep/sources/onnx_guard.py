"""A file from elsewhere is looked at before onnx and ONNX Runtime act on what it says.

Both allocate what a file declares and follow where it points: a file of a hundred bytes can ask for a terabyte. What is
refused here costs neither memory nor time. What no look at the file tells is for `pytest_onnxprep.sources.onnx_trial`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pytest_onnxprep.errors import SourceError
from pytest_onnxprep.sources.load import one_line
from pytest_onnxprep.spec.visible import visible

#: What one protobuf holds at most.
MOST_FILE_BYTES = 2**31 - 1
#: What one tensor of a fixed shape may take; weights with data outside the file may take more.
MOST_TENSOR_BYTES = 4_000_000_000
#: What the inputs may take together, of which a check holds several.
MOST_INPUT_BYTES = 1_000_000_000
#: Nodes after all functions are written out, unless the file holds half as many: 16 thousand load in 4 s, and twice as
#: many in four times that.
MOST_NODES = 20_000
#: Axes NumPy's arrays may have.
_MOST_AXES = 64
#: Characters of a dim: an expression over others, at most.
_LONGEST_DIM = 500
#: Initializers above this are no sizes that shape inference computes with.
_SMALL_BYTES = 4096

#: How files begin that are often called ``.onnx``, and what they are.
_MAGIC = (
    (0, b"version https://git-lfs", "a Git LFS pointer: fetch the file itself with git lfs pull"),
    (0, b"PK\x03\x04", "a zip archive, as torch.save, torch.export.save and Keras write"),
    (0, b"\x89HDF\r\n\x1a\n", "an HDF5 file, as Keras writes"),
    (4, b"TFL3", "a TFLite file"),
    (4, b"ORTM", "an ORT-format file, which ONNX Runtime loads and onnx does not"),
    (0, b"\x80\x02", "a pickle, as torch.save once wrote"),
    (0, b"\x80\x04", "a pickle"),
    (0, b"\x1f\x8b", "a gzip archive: unpack it"),
    (0, b"<", "HTML or XML: a download that failed?"),
    (0, b"{", "JSON"),
)


def read_model(path: Path) -> Any:
    """The ``ModelProto`` of a file, without its external data.

    Raises:
        SourceError: the file is not ONNX.
    """
    import onnx

    try:
        size = path.stat().st_size
        if size > MOST_FILE_BYTES:
            raise SourceError(
                f"{str(path)!r} is refused: it has {size / 1e9:.3g} GB, and one protobuf holds at most 2 GB; "
                "save the model with external data (onnx.save(..., save_as_external_data=True))"
            )
        proto = onnx.load(str(path), load_external_data=False)
    except SourceError:
        raise
    except Exception as error:
        raise SourceError(f"{str(path)!r} is not a readable ONNX file: {_kind(path) or one_line(error)}") from error
    if not proto.HasField("graph"):
        raise SourceError(f"{str(path)!r} is not a readable ONNX file: {_kind(path) or 'it holds no graph'}")
    return proto


def check_names(path: Path, proto: Any) -> None:
    """Refuse a file whose names are no text: protobuf hands those out as bytes, and whoever joins or prints them fails.

    Nor may they hold control characters, which would clear the terminal, or look like lines of pytest's own.

    Raises:
        SourceError: there is one.
    """
    for text in _texts(proto):
        if isinstance(text, bytes):
            raise SourceError(f"{str(path)!r} is refused: it holds names that are no UTF-8 text; the file is damaged")
        if not text.isprintable() and (visible(text) != text or "\n" in text or "\t" in text):
            raise SourceError(f"{str(path)!r} is refused: the name {_shortened(text)} holds control characters")


def check_untrusted(path: Path, proto: Any) -> None:
    """Refuse what is damaged or absurd in a file made elsewhere.

    Args:
        path: the file; its names are text, and its external data is known to lie in its folder.
        proto: its ``ModelProto`` without external data.

    Raises:
        SourceError: with what is wrong, and where.
    """
    from pytest_onnxprep.sources.onnx_file import tensors_of

    folder = path.parent.resolve()
    problems = (
        f"tensor {tensor.name!r} {said}" for tensor in tensors_of(proto) if (said := _of_tensor(tensor, folder))
    )
    problem = next(problems, "") or _of_functions(proto) or _of_sizes(proto) or _of_inputs(proto)
    if problem:
        raise SourceError(f"{str(path)!r} is refused: {problem}")


def _texts(proto: Any) -> Iterator[Any]:
    """Every name that the graph, its subgraphs and functions hold."""
    from pytest_onnxprep.sources.onnx_file import tensors_of

    yield from (proto.producer_name, proto.producer_version)
    yield from (entry.domain for entry in proto.opset_import)
    yield from (pair.key for pair in proto.metadata_props)
    yield from (pair.value for pair in proto.metadata_props if isinstance(pair.value, bytes))  # text may have lines
    for entry in (entry for tensor in tensors_of(proto) for entry in tensor.external_data):
        yield from (entry.key, entry.value)
    for function in proto.functions:
        yield from (function.domain, function.name, *function.input, *function.output, *function.attribute)
        yield from (entry.domain for entry in function.opset_import)
    graphs, nodes = [proto.graph], [*(node for function in proto.functions for node in function.node)]
    while graphs or nodes:
        if graphs:
            graph = graphs.pop()
            nodes += graph.node
            for value in (*graph.input, *graph.output, *graph.value_info):
                yield value.name
                yield from (dim.dim_param for dim in value.type.tensor_type.shape.dim)
            yield graph.name
            yield from (tensor.name for tensor in graph.initializer)
            yield from (sparse.values.name for sparse in graph.sparse_initializer)
            continue
        node = nodes.pop()
        yield from (node.name, node.op_type, node.domain, *node.input, *node.output)
        for attribute in node.attribute:
            yield attribute.name
            graphs += [attribute.g] if attribute.HasField("g") else []
            graphs += attribute.graphs


def _of_tensor(tensor: Any, folder: Path) -> str:
    if any(size < 0 for size in tensor.dims):
        return f"has a negative size: {list(tensor.dims)}"
    bytes_ = math.prod(tensor.dims) * _bits(tensor.data_type) // 8
    if not tensor.external_data:
        if tensor.HasField("raw_data") and _bits(tensor.data_type) >= 8 and len(tensor.raw_data) != bytes_:
            return f"declares {list(tensor.dims)}, {_size(bytes_)}, and holds {_size(len(tensor.raw_data))}"
        return ""
    stored = {entry.key: entry.value for entry in tensor.external_data}
    file = folder / stored.get("location", "")
    if not file.exists():
        return f"keeps its data in {stored.get('location', '')!r}, which is missing beside the file"
    if not file.is_file():
        return f"keeps its data in {stored.get('location', '')!r}, which is no plain file"
    try:
        offset, length = int(stored.get("offset") or 0), int(stored.get("length") or bytes_)
    except ValueError:
        return f"says where its data lies in words that are no numbers: {stored}"
    if offset < 0 or length < 0 or offset + length > file.stat().st_size:
        return (
            f"wants {_size(length)} from place {offset} of {file.name!r}, which has {_size(file.stat().st_size)}; "
            "the data file is cut off or belongs to another model"
        )
    if _bits(tensor.data_type) >= 8 and length < bytes_:
        return f"declares {list(tensor.dims)}, {_size(bytes_)}, and has {_size(length)} in {file.name!r}"
    return ""


def _of_functions(proto: Any) -> str:
    """Functions that call themselves, or each other so often that the graph is absurd once they are written out."""
    functions = {(function.domain, function.name): function for function in proto.functions}
    totals: dict[tuple[str, str], int] = {}
    open_: set[tuple[str, str]] = set()

    def total(nodes: Any, depth: int) -> int:
        count = 0
        for node in nodes:
            key = (node.domain, node.op_type)
            count += 1 if key not in functions else of(key, depth + 1)
            for attribute in node.attribute:
                for graph in (attribute.g, *attribute.graphs):
                    count += total(graph.node, depth + 1)
        return count

    def of(key: tuple[str, str], depth: int) -> int:
        if key not in totals:
            if key in open_:
                raise _CycleError(f"function {key[0]}.{key[1]} calls itself")
            if depth > 200:
                raise _CycleError("its functions are nested too deeply")
            open_.add(key)
            totals[key] = total(functions[key].node, depth)
        return totals[key]

    try:
        written_out = total(proto.graph.node, 0)
    except _CycleError as error:
        return str(error)
    held = len(proto.graph.node) + sum(len(function.node) for function in proto.functions)
    if proto.functions and written_out > max(MOST_NODES, 2 * held):
        return f"its functions come to {written_out:.2g} nodes when they are written out"
    return ""


class _CycleError(Exception):
    """Functions without an end."""


def _of_inputs(proto: Any) -> str:
    """Inputs that no check can make: too many axes, endless names of dims, or too large together."""
    total = 0
    weights = {tensor.name for tensor in proto.graph.initializer}
    for value in proto.graph.input:
        kind = value.type.tensor_type
        if len(kind.shape.dim) > _MOST_AXES:
            return f"input {value.name!r} has {len(kind.shape.dim)} axes; NumPy has at most {_MOST_AXES}"
        if any(len(dim.dim_param) > _LONGEST_DIM for dim in kind.shape.dim):
            return f"a dim of input {value.name!r} has a name of more than {_LONGEST_DIM} characters"
        sizes = [dim.dim_value for dim in kind.shape.dim if dim.HasField("dim_value")]
        if value.name not in weights and all(size > 0 for size in sizes):
            total += math.prod(sizes) * max(1, _bits(kind.elem_type) // 8)
    return f"its inputs would take {_size(total)} together" if total > MOST_INPUT_BYTES else ""


def _of_sizes(proto: Any) -> str:
    """A tensor of a fixed and absurd size, declared or computed from constants."""
    import onnx

    values = [*proto.graph.input, *proto.graph.output, *proto.graph.value_info]
    try:
        # Without data_prop, which computes with constants: one laid beside itself forty times would never end.
        inferred = onnx.shape_inference.infer_shapes(without_weights(proto)).graph
        values += [*inferred.value_info, *inferred.output]
    except Exception:  # onnx.checker and ONNX Runtime say what is wrong
        inferred = None
    for value in values:
        kind = value.type.tensor_type
        sizes = [dim.dim_value for dim in kind.shape.dim if dim.HasField("dim_value")]
        if any(size < 0 for size in sizes):
            return f"tensor {value.name!r} has a negative size: {sizes}"
        if 0 not in sizes and math.prod(sizes) * max(1, _bits(kind.elem_type) // 8) > MOST_TENSOR_BYTES:
            return f"tensor {value.name!r} would take {_size(math.prod(sizes) * (_bits(kind.elem_type) // 8 or 1))}"
    return ""


def without_weights(proto: Any) -> Any:
    """A copy in which large initializers are declared only; small ones may be sizes, which inference computes with."""
    import onnx

    copied = onnx.ModelProto(ir_version=proto.ir_version)
    copied.opset_import.extend(proto.opset_import)
    copied.functions.extend(proto.functions)
    graph = copied.graph
    graph.name = proto.graph.name
    for field in ("node", "input", "output", "value_info"):
        getattr(graph, field).extend(getattr(proto.graph, field))
    for tensor in proto.graph.initializer:
        if tensor.ByteSize() <= _SMALL_BYTES and not tensor.external_data:
            graph.initializer.append(tensor)
            continue
        bare = graph.initializer.add(name=tensor.name, data_type=tensor.data_type, dims=tensor.dims)
        bare.data_location = onnx.TensorProto.EXTERNAL
        bare.external_data.add(key="location", value="left out")
    return copied


def _bits(number: int) -> int:
    """Bits of an element; 0 where that says nothing (text, an unknown type)."""
    import onnx

    if number in (onnx.TensorProto.STRING, onnx.TensorProto.UNDEFINED):
        return 0
    try:
        name = onnx.TensorProto.DataType.Name(number)
        if name in ("INT4", "UINT4", "FLOAT4E2M1", "INT2", "UINT2"):
            return 2 if name.endswith("INT2") else 4
        return int(onnx.helper.tensor_dtype_to_np_dtype(number).itemsize) * 8
    except Exception:  # of a newer onnx
        return 0


def _shortened(text: str) -> str:
    return repr(text if len(text) <= 60 else f"{text[:57]}...")


def _size(count: int) -> str:
    for unit, scale in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6)):
        if count >= scale:
            return f"{count / scale:.3g} {unit}"
    return f"{count} bytes"


def _kind(path: Path) -> str:
    """What a file is that is no ONNX, where its first bytes tell."""
    try:
        with path.open("rb") as file:
            head = file.read(64)
    except OSError:
        return ""
    if not head:
        return "it is empty"
    return next((f"it is {what}" for at, magic, what in _MAGIC if head[at:].startswith(magic)), "")
