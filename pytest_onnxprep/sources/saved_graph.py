"""What the graph of a SavedModel may hold: operators that compute, and those that keep a model's own state."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path, PurePath
from typing import Any

from pytest_onnxprep.errors import SourceError
from pytest_onnxprep.sources.load import one_line
from pytest_onnxprep.sources.tensorflow_function import references

#: Operators with a state that models have: variables, tables, random numbers, lists, calls, loops, assertions.
_STATEFUL = re.compile(
    r"Assert|AssignVariableOp|Assign(Add|Sub)VariableOp|ReadVariableOp|Var(HandleOp|IsInitializedOp)|VariableShape"
    r"|Variable(V2)?|TemporaryVariable|DisableCopyOnRead|DestroyResourceOp|GuaranteeConst|CheckNumerics(V2)?"
    r"|Resource(Gather|GatherNd|Scatter\w+|StridedSliceAssign|Apply\w+|SparseApply\w+|CountUpTo)"
    r"|(Anonymous)?(Mutable(Dense)?)?HashTable(OfTensors)?(V2)?|LookupTable\w+|InitializeTableV2"
    r"|Random(Crop|Gamma|Poisson(V2)?|Shuffle|StandardNormal|Uniform(Int)?)|Multinomial|(Parameterized)?TruncatedNormal"
    r"|Stateful(RandomBinomial|StandardNormal(V2)?|TruncatedNormal|Uniform(FullInt|Int)?)|RngSkip|RngReadAndSkip"
    r"|NonDeterministicInts|StatelessRandomGetAlg|SampleDistortedBoundingBox(V2)?"
    r"|(All|Uniform|LogUniform|LearnedUnigram|ThreadUnsafeUnigram)CandidateSampler"
    r"|TensorArray\w*|Stack(V2|PushV2|PopV2|CloseV2)?|CudnnRNN\w*"
    r"|StatefulPartitionedCall|While|If|Case|DeviceIndex|Empty|DeepCopy"
)
#: Operators that TensorFlow counts as stateless and that yet act: on files, on Python, on the process.
_ACTING = re.compile(
    r"_.*|Abort|Print|ReadFile|MatchingFiles|GenerateVocabRemapping|PyFuncStateless|Copy|CopyHost|RemoteFusedGraphExecute"
    r"|\w*(Dataset|Iterator|Reader|Queue|Debug)\w*|(De|En)codeProto(V2)?|TPU(PartitionedCall|CompilationResult)"
    r"|Xla(Launch|LaunchV2|CustomCall|CustomCallV2|HostCompute)"
)
#: What the saver needs: it stands in every SavedModel, and nothing that is run may lead to it.
_WRITES = frozenset({"SaveV2", "MergeV2Checkpoints"})
_READS = frozenset({"RestoreV2"})
_FROM_TEXT = frozenset({"InitializeTableFromTextFile", "InitializeTableFromTextFileV2"})
_NO_ASSET = "a table whose file is none of its assets"


def check(folder: Path) -> None:
    """Refuse what acts outside the model, before any of it is run.

    Raises:
        SourceError: the folder is damaged, or refused.
    """
    from tensorflow.core.protobuf import saved_model_pb2

    saved = saved_model_pb2.SavedModel()
    try:
        saved.ParseFromString((folder / "saved_model.pb").read_bytes())
    except Exception as error:
        raise SourceError(f"SavedModel {str(folder)!r} is damaged: {one_line(error)}; save the model again") from None
    for meta in saved.meta_graphs:
        found = _refused(meta, len(saved.meta_graphs) == 1 and meta.HasField("object_graph_def"))
        if found:
            raise SourceError(
                f"SavedModel {str(folder)!r} is refused: {found}; nothing of it was run. Save the part that computes "
                "by itself"
            )


def _refused(meta: Any, has_objects: bool) -> str:
    """What is wrong with a graph and its functions; empty where nothing is."""
    functions = {function.signature.name: function for function in meta.graph_def.library.function}
    bodies = [meta.graph_def.node, *(function.node_def for function in functions.values())]
    for nodes in bodies:
        for node in nodes:
            if not _computes(node.op):
                return f"its graph holds {node.op}, which acts outside the model"
    for asset in meta.asset_file_def:
        if PurePath(asset.filename).is_absolute() or ".." in PurePath(asset.filename).parts:
            return f"its asset {asset.filename!r} lies outside of it"
    reach = _Reach(meta, functions)
    found = reach.from_objects() if has_objects else reach.from_graph()
    return found and f"what is run of it leads to {found}, which acts outside the model"


def _computes(operator: str) -> bool:
    """Whether an operator does nothing but compute; the saver's own count as such here."""
    from tensorflow.python.framework import op_def_registry

    if operator in _WRITES | _READS | _FROM_TEXT:
        return True
    if _ACTING.fullmatch(operator):
        return False
    known = op_def_registry.get(operator)
    if known is None or not known.is_stateful:  # a function of the file's, or one that TensorFlow will not find
        return True
    return _STATEFUL.fullmatch(operator) is not None


class _Reach:
    """The operators that loading and running a SavedModel come to.

    Args:
        meta: the graph with all that belongs to it.
        functions: its functions by name.
    """

    def __init__(self, meta: Any, functions: dict[str, Any]) -> None:
        self._meta = meta
        self._functions = functions
        self._gradients = {entry.function_name: entry.gradient_func for entry in meta.graph_def.library.gradient}

    def from_objects(self) -> str:
        """The functions of the objects are run, and the graph is not."""
        objects = self._meta.object_graph_def
        for name, described in objects.concrete_functions.items():
            nodes = list(self._nodes([name]))
            found = next((node.op for node in nodes if node.op in _WRITES | _READS), "")
            if found:
                return found
            tables = [node for node in nodes if node.op in _FROM_TEXT]
            own = list(self._functions[name].node_def) if tables else []
            made = {node.name for node in own}
            bound = [objects.nodes[index].WhichOneof("kind") for index in described.bound_inputs] if tables else []
            # The file of a table is one that loading hands in, an asset: no text that stands in the model.
            if any(node not in own or _node_name(node.input[1]) in made for node in tables) or "constant" in bound:
                return _NO_ASSET
        return ""

    def from_graph(self) -> str:
        """Without objects (TensorFlow 1) the graph is run: its signatures, what initialises it and what restores it."""
        graph = {node.name: node for node in self._meta.graph_def.node}
        assets = {_node_name(asset.tensor_info.name) for asset in self._meta.asset_file_def}
        tables = [node for node in graph.values() if node.op in _FROM_TEXT]
        hidden = any(node.op in _FROM_TEXT for node in self._nodes(list(self._functions)))
        if hidden or any(_node_name(node.input[1]) not in assets for node in tables):
            return _NO_ASSET
        ends = {info.name for signature in self._meta.signature_def.values() for info in _ends(signature)}
        for collected in self._meta.collection_def.values():
            ends |= set(collected.node_list.value)
        restoring = {self._meta.saver_def.restore_op_name}
        return self._first(graph, ends - restoring, _WRITES | _READS) or self._first(graph, restoring, _WRITES)

    def _first(self, graph: dict[str, Any], ends: set[str], operators: frozenset[str]) -> str:
        seen: dict[str, Any] = {}
        queue = list(ends)
        while queue:
            name = _node_name(queue.pop())
            if name in graph and name not in seen:
                seen[name] = graph[name]
                queue += graph[name].input
        called = self._nodes([name for node in seen.values() for name in self._called(node)])
        return next((node.op for nodes in (seen.values(), called) for node in nodes if node.op in operators), "")

    def _nodes(self, names: list[str]) -> Iterator[Any]:
        """The nodes of some functions and of all that these call."""
        queue, seen = list(names), set[str]()
        while queue:
            name = queue.pop()
            if name in seen or name not in self._functions:
                continue
            seen.add(name)
            if name in self._gradients:
                queue.append(self._gradients[name])
            for node in self._functions[name].node_def:
                yield node
                queue += self._called(node)

    def _called(self, node: Any) -> list[str]:
        return [node.op, *(reference.name for reference in references(node))]


def _ends(signature: Any) -> Iterator[Any]:
    yield from signature.inputs.values()
    yield from signature.outputs.values()


def _node_name(tensor: str) -> str:
    return tensor.removeprefix("^").partition(":")[0]
