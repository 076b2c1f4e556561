"""The contract: each way in which a file can be other than declared is a breach of its own, told in one line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from pytest_onnxprep.errors import ContractViolation, ExportFailed, SourceError
from pytest_onnxprep.exporters.contract import check_contract
from pytest_onnxprep.spec.signature import Signature
from pytest_onnxprep.spec.tensor import TensorSpec

FLOAT = TensorProto.FLOAT
Values = list[tuple[str, int, list[Any]]]
X: Values = [("x", FLOAT, ["batch", 3])]
Y: Values = [("y", FLOAT, ["batch", 3])]


@pytest.fixture
def write(tmp_path):
    """Write a model of a few nodes; returns its path."""

    def write(
        nodes: list[Any] | None = None,
        inputs: Values = X,
        outputs: Values = Y,
        *,
        initializers: Any = (),
        opset: int = 17,
        domains: tuple[str, ...] = (),
        functions: Any = (),
    ) -> Path:
        graph = helper.make_graph(
            nodes or [helper.make_node("Relu", ["x"], ["y"], name="relu")],
            "graph",
            [helper.make_tensor_value_info(*value) for value in inputs],
            [helper.make_tensor_value_info(*value) for value in outputs],
            list(initializers),
        )
        imports = [helper.make_opsetid("", opset), *(helper.make_opsetid(domain, 1) for domain in domains)]
        model = helper.make_model(graph, opset_imports=imports, ir_version=10, functions=list(functions))
        path = tmp_path / "model.onnx"
        path.write_bytes(model.SerializeToString())
        return path

    return write


def declared(outputs: Any = None, **inputs: str) -> Signature:
    """A signature of ``dtype[dims]`` texts."""

    def spec(text: str) -> TensorSpec:
        dtype, _, dims = text.partition("[")
        return TensorSpec(dtype, dims.rstrip("]"))

    named = None if outputs is None else {name: text and spec(text) for name, text in outputs.items()}
    return Signature({name: spec(text) for name, text in inputs.items()}, named)


GOOD = declared({"y": "float32[batch, 3]"}, x="float32[batch, 3]")


def breach(path: Path, signature: Signature = GOOD, **arguments: Any) -> str:
    """The text of the violation."""
    with pytest.raises(ContractViolation) as caught:
        check_contract(path, signature, **{"opset": None, "domains": (), **arguments})
    assert caught.value.result.summary.startswith("contract broken: ")
    return str(caught.value)


def test_kept_contract_is_silent(write):
    """A file that is what was declared passes."""
    check_contract(write(), GOOD, opset=17, domains=())


def test_undeclared_outputs_may_be_anything(write):
    """Nobody declared the outputs, so nothing is said about them."""
    check_contract(write(), declared(x="float32[batch, 3]"), opset=None, domains=())


@pytest.mark.parametrize(
    ("inputs", "signature", "words"),
    [
        (X, declared(z="float32[batch, 3]"), "inputs are x; declared: z"),
        ([*X, ("26:0", FLOAT, [3])], GOOD, "inputs are x, 26:0; declared: x (nobody declared 26:0: a constant"),
        (X, declared(x="float32[b, 3]", m="bool[b]"), "the file lacks m: converters drop what no output depends on"),
        (
            [("b", FLOAT, [2]), *X],
            declared(x="float32[batch, 3]", b="float32[2]"),
            "inputs are b, x; declared: x, b (the same, in another order)",
        ),
        (X, declared(x="float64[batch, 3]"), "input 'x' is float32, declared float64"),
        (X, declared(x="float32[batch, 3, 1]"), "input 'x' has rank 2 ['batch', 3], declared float32[batch, 3, 1]"),
        (X, declared(x="float32[batch, n]"), "input 'x' axis 1 (n) was declared dynamic, the file has it fixed at 3"),
        (X, declared(x="float32[batch, 4]"), "input 'x' axis 1 is 3, declared 4"),
    ],
)
def test_breaches_of_inputs(write, inputs, signature, words):
    """Names, order, dtype, rank, frozen and static dims are each told in a line of their own."""
    assert words in breach(write(inputs=inputs), signature)


@pytest.mark.parametrize(
    ("outputs", "words"),
    [
        ({"z": None}, "outputs are y; declared: z"),
        ({"y": "int64[batch, 3]"}, "output 'y' is float32, declared int64"),
        ({"y": "float32[batch]"}, "output 'y' has rank 2"),
        ({"y": "float32[batch, n]"}, "output 'y' axis 1 (n) was declared dynamic, the file has it fixed at 3"),
    ],
)
def test_breaches_of_outputs(write, outputs, words):
    """Declared outputs are held to the same."""
    assert words in breach(write(), declared(outputs, x="float32[batch, 3]"))


def test_output_known_by_name_only(write):
    """A name without a type declares the name alone."""
    check_contract(write(), declared({"y": None}, x="float32[batch, 3]"), opset=None, domains=())


def test_every_breach_is_listed(write):
    """The summary has the first, the text has all of them."""
    text = breach(write(), declared({"q": None}, x="int64[n, 4]"), opset=18)

    assert text.count("\n  - ") == 4


def test_breach_of_the_opset(write):
    """Torch's dynamo exporter leaves a file at 18 when asked for less."""
    assert "opset 18 was asked for, the file is at opset 17" in breach(write(), opset=18)


def foreign() -> list[Any]:
    """A graph with an operator of ONNX Runtime's own."""
    return [helper.make_node("Gelu", ["x"], ["y"], domain="com.microsoft")]


def test_foreign_operator_has_to_be_declared(write):
    """A fused operator runs on ONNX Runtime only: it passes where its domain was declared."""
    path = write(foreign(), domains=("com.microsoft",))

    assert "operator com.microsoft.Gelu (1x) is outside the declared domains" in breach(path)
    check_contract(path, GOOD, opset=None, domains=("com.microsoft",))
    check_contract(path, GOOD, opset=None, domains=None)


def test_functions_of_the_model_itself_are_no_foreigners(write):
    """A model-local function brings its own definition along."""
    function = helper.make_function(
        "mine", "Twice", ["a"], ["b"], [helper.make_node("Add", ["a", "a"], ["b"])], [helper.make_opsetid("", 17)]
    )
    path = write([helper.make_node("Twice", ["x"], ["y"], domain="mine")], domains=("mine",), functions=[function])

    check_contract(path, GOOD, opset=None, domains=())


def test_leftover_operator_is_named_with_its_place(write):
    """An operator of the framework in the graph, inside a branch too, fails with its name and node."""
    branch = helper.make_graph(
        [helper.make_node("Erfc", ["x"], ["o"], name="gelu/Erfc")],
        "then",
        [],
        [helper.make_tensor_value_info("o", FLOAT, None)],
    )
    condition = numpy_helper.from_array(np.array(True), "c")
    node = helper.make_node("If", ["c"], ["y"], then_branch=branch, else_branch=branch)

    with pytest.raises(ExportFailed, match=r"does not have: Erfc \(2x, first at node 'gelu/Erfc'\)"):
        check_contract(write([node], initializers=[condition]), GOOD, opset=None, domains=())


def test_operator_of_a_later_opset_is_named(write):
    """Gelu came with opset 20."""
    with pytest.raises(ExportFailed, match="ONNX opset 17 does not have: Gelu"):
        check_contract(write([helper.make_node("Gelu", ["x"], ["y"])]), GOOD, opset=None, domains=())


def test_checker_failure_is_told_in_its_words(write):
    """A node that reads a tensor nobody makes is invalid ONNX."""
    with pytest.raises(ExportFailed, match=r"onnx\.checker refuses model\.onnx"):
        check_contract(write([helper.make_node("Relu", ["nowhere"], ["y"])]), GOOD, opset=None, domains=())


def test_file_that_does_not_load_fails(write):
    """Valid for the checker, but no kernel: the runtime's own words are shown."""
    nodes = [helper.make_node("Nope", ["x"], ["y"], domain="com.microsoft")]

    with pytest.raises(ExportFailed, match=r"ONNX Runtime cannot load model\.onnx"):
        check_contract(write(nodes, domains=("com.microsoft",)), GOOD, opset=None, domains=None)


@pytest.mark.parametrize("keep", [0, 20, 60])
def test_truncated_file_fails(write, keep):
    """Half a file is a failed export, never a crash."""
    path = write()
    path.write_bytes(path.read_bytes()[:keep])

    with pytest.raises(ExportFailed):
        check_contract(path, GOOD, opset=None, domains=())


def test_data_outside_the_folder_is_refused(write, tmp_path):
    """A file must not make anybody read what lies elsewhere, whatever the place it is mentioned in."""
    path = write(
        [helper.make_node("Add", ["x", "w"], ["y"])],
        initializers=[numpy_helper.from_array(np.ones(3, np.float32), "w")],
    )
    model = onnx.load(str(path))
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../secret.bin")
    path.write_bytes(model.SerializeToString())

    with pytest.raises(SourceError, match=r"is refused: tensor 'w' .* '\.\./secret\.bin'; copy the data"):
        check_contract(path, GOOD, opset=None, domains=())
