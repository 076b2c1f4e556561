"""The ONNX file under test, as a test body sees it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np

from pytest_onnxprep.errors import CacheError, OnnxPrepError
from pytest_onnxprep.runtime import watchdog
from pytest_onnxprep.runtime.session import make_session
from pytest_onnxprep.sources.turn import Turn
from pytest_onnxprep.spec.own_options import custom_op_libraries
from pytest_onnxprep.spec.signature import Signature
from pytest_onnxprep.spec.variant import Variant

if TYPE_CHECKING:
    from pytest_onnxprep.sources.base import Source
    from pytest_onnxprep.spec.description import ModelDescription
    from pytest_onnxprep.spec.verdict import CheckResult

#: The two spellings of ONNX's own operator domain.
DEFAULT_DOMAINS = ("", "ai.onnx")


class OnnxModel:
    """An ONNX file, the model it came from, and how it was made. Everything heavy is read on first use.

    Attributes:
        path: the file; external data lies beside it. It belongs to the cache: copy it before editing.
        signature: declared inputs, outputs and dims.
        variant: exporter, opset and options.
        provenance: JSON-able record of the export (versions, seconds, converter messages).
        source: the reference model.
        parts: of a pipeline, an ensemble or a bucketed model, the files it consists of, by name; else empty.
        key: of the export in the cache; empty for a file made elsewhere, and for an export no other run can find.
    """

    parts: Mapping[str, OnnxModel] = MappingProxyType({})

    def __init__(
        self,
        path: Path,
        signature: Signature,
        source: Source,
        variant: Variant,
        provenance: Mapping[str, Any],
        *,
        provider: str | None = None,
        cached: bool = False,
        key: str = "",
    ) -> None:
        self.path = path
        self.signature = signature
        self.source = source
        self.variant = variant
        self.provenance = provenance
        self.provider = provider
        self.cached = cached
        self.key = key

    @cached_property
    def graph_proto(self) -> Any:
        """The ``onnx.ModelProto`` without the bytes of external tensors: cheap for any size of model."""
        import onnx

        return onnx.load(str(self.path), load_external_data=False)

    @cached_property
    def proto(self) -> Any:
        """The whole ``onnx.ModelProto``, external data included; of a large model `graph_proto` is meant."""
        import onnx

        return onnx.load(str(self.path))

    @cached_property
    def session(self) -> Any:
        """An ``onnxruntime.InferenceSession`` with default optimisations.

        That of a large model takes no memory of its own: see `pytest_onnxprep.artifacts.shared_weights`.
        """
        if not self.is_large:
            return self.open_session()
        from pytest_onnxprep.artifacts.shared_weights import shared_weights

        weights = shared_weights(self.path, self.graph_proto, self.source) if self.provider is None else None
        return self._load(provider=self.provider, lean=True, weights=weights)

    @cached_property
    def is_large(self) -> bool:
        """Whether the external data is too much to be held in memory twice."""
        from pytest_onnxprep.sources.onnx_file import is_large

        return is_large(self.files[1:])

    @property
    def custom_ops(self) -> tuple[str, ...]:
        """Libraries of custom operators that a session of the file needs: ``make_session(custom_ops=)``."""
        return custom_op_libraries(self.variant.options)

    @property
    def layout(self) -> Turn:
        """Which pictures are NHWC in the model and NCHW in the file."""
        return Turn.of(self.variant.options)

    @cached_property
    def opset(self) -> int:
        """The version of the default operator domain that the file imports."""
        return opset_of(self.graph_proto)

    @cached_property
    def operators(self) -> Counter[str]:
        """How often each operator occurs, subgraphs and functions included.

        Operators of another domain than ONNX's own carry it: ``com.microsoft.FusedMatMul``.
        """
        return Counter(qualified_name(node) for node in all_nodes(self.graph_proto))

    @property
    def node_count(self) -> int:
        """Number of nodes, subgraphs and functions included."""
        return sum(self.operators.values())

    @cached_property
    def size_bytes(self) -> int:
        """Bytes of the file and of every external data file it refers to."""
        return sum(path.stat().st_size for path in self.files)

    @cached_property
    def weights_bytes(self) -> int:
        """Bytes of all initializers, wherever they are stored."""
        return sum(tensor_bytes(tensor) for tensor in self.graph_proto.graph.initializer)

    @cached_property
    def files(self) -> list[Path]:
        """The file itself, then its external data files."""
        from pytest_onnxprep.sources.onnx_file import external_files

        return [self.path, *sorted(external_files(self.path))]

    @cached_property
    def output_names(self) -> list[str]:
        """Names of the graph's outputs, in order."""
        return [value.name for value in self.graph_proto.graph.output]

    def open_session(self, *, provider: str | None = None, threads: int | None = None) -> Any:
        """A new session, for what is to be timed.

        Args:
            provider: execution provider; None is the one this model was made for.
            threads: threads of the intra-op pool; None is ONNX Runtime's default.
        """
        return self._load(provider=provider or self.provider, threads=threads)

    def _load(self, **how: Any) -> Any:
        try:
            return make_session(self.path, custom_ops=self.custom_ops, **how)
        except OnnxPrepError:
            raise
        except Exception as error:
            if not self.cached:  # the contract check has just loaded it
                raise
            raise CacheError(
                f"the export cache holds a file that ONNX Runtime cannot load, {self.path}: "
                f"{' '.join(str(error).split())[:300]}. Next step: delete the folder {self.path.parent}; the export is "
                "then made afresh."
            ) from error

    def in_double(self) -> Any:
        """What computes the outputs in float64: ``.run(feeds)``, None where that cannot be done."""
        from pytest_onnxprep.runtime.double_graph import DoubleGraph

        return DoubleGraph(self.path)

    def run(self, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Run the file on ONNX Runtime: input name -> array in, output name -> array out."""
        values = watchdog.run(
            self.session.run, self.output_names, dict(feeds), f"the ONNX model of {self.source.label}"
        )
        return dict(zip(self.output_names, values, strict=True))

    def reference(self, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Run the untouched framework model on the same feeds.

        Raises:
            ReferenceRefused: the framework does not take these sizes or values.
        """
        return self.source.run(feeds, self.signature)

    def describe(self) -> ModelDescription:
        """What the file holds: versions, inputs and outputs, operators, weights, coverage of shape inference, ...

        Print it, or take ``to_json()``. Weights beside the file are not read.
        """
        from pytest_onnxprep.artifacts.description import describe

        return describe(self)

    def show(self, *, browse: bool = True, port: int | None = None) -> str:
        """Serve the file with Netron and open it in the browser; returns at once.

        Args:
            browse: whether to open a browser.
            port: where Netron listens; left out, it looks for a free one.

        Returns:
            The address, which is served until the process ends.

        Raises:
            OnnxPrepError: Netron is not installed.
        """
        from pytest_onnxprep.artifacts.viewer import show

        return show(self.path, browse=browse, port=port)

    def write_metadata(
        self,
        path: str | Path,
        *,
        parity: CheckResult | Mapping[str, Any] | None = None,
        extra: Mapping[str, Any] | None = None,
        overwrite: bool = False,
    ) -> Path:
        """Write a copy that carries its provenance; see `pytest_onnxprep.write_metadata`."""
        from pytest_onnxprep.artifacts.metadata import write_metadata

        return write_metadata(self, path, parity=parity, extra=extra, overwrite=overwrite)

    def __repr__(self) -> str:
        return f"OnnxModel({self.source.label}, {self.variant.id}, {str(self.path)!r})"


def opset_of(proto: Any) -> int:
    """The default domain's opset of a ``ModelProto``; 0 where it imports none."""
    return max((entry.version for entry in proto.opset_import if entry.domain in DEFAULT_DOMAINS), default=0)


def all_nodes(proto: Any) -> Iterator[Any]:
    """Every node of the graph, of its subgraphs and of the model's functions."""
    yield from _nodes(proto.graph.node)
    for function in proto.functions:
        yield from _nodes(function.node)


def qualified_name(node: Any) -> str:
    """``Conv``, or ``com.microsoft.Gelu`` outside ONNX's own domain."""
    return str(node.op_type) if node.domain in DEFAULT_DOMAINS else f"{node.domain}.{node.op_type}"


def bodies(node: Any) -> Iterator[Any]:
    """Every node of the bodies of a Loop, If or Scan, and of their bodies."""
    for attribute in node.attribute:
        if attribute.HasField("g"):
            yield from _nodes(attribute.g.node)
        for graph in attribute.graphs:
            yield from _nodes(graph.node)


def _nodes(nodes: Any) -> Iterator[Any]:
    for node in nodes:
        yield node
        yield from bodies(node)


def tensor_bytes(tensor: Any) -> int:
    """Bytes of an initializer, stored in the file or beside it."""
    import onnx

    for entry in tensor.external_data:
        if entry.key == "length":
            return int(entry.value)
    if tensor.raw_data:
        return len(tensor.raw_data)
    if tensor.data_type == onnx.TensorProto.STRING:
        return sum(map(len, tensor.string_data))
    itemsize: int = onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize
    return int(np.prod(tensor.dims, dtype=np.int64)) * itemsize
