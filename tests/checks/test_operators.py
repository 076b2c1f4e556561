"""The check ``operators`` on hand-made graphs."""

from __future__ import annotations

from typing import Any

import onnx
import pytest
from onnx import TensorProto, helper

from pytest_onnxprep.artifacts.onnx_model import OnnxModel
from pytest_onnxprep.checks import operators
from pytest_onnxprep.checks.case import Case
from pytest_onnxprep.errors import SpecError
from pytest_onnxprep.spec.operators_request import read_operators
from pytest_onnxprep.spec.variant import Variant
from pytest_onnxprep.spec.verdict import CheckResult, Verdict

SCOPE = "['', 'encoder', 'encoder.norm', 'gelu']"
KINDS = "['net.Net', 'net.Encoder', 'torch.nn.modules.activation.GELU', 'aten.gelu.default']"


@pytest.fixture
def hold(tmp_path):
    """Hold a graph with a function, a body and a foreign operator to a request."""

    def run(**request: Any) -> CheckResult:
        path = tmp_path / "model.onnx"
        onnx.save(_model(), str(path))
        model = OnnxModel(path, None, None, Variant("none", 17), {})  # type: ignore[arg-type]
        return operators.run(Case(model, read_operators(**request)))

    return run


def _model() -> Any:
    def value(name: str, kind: int = TensorProto.FLOAT, shape: tuple[Any, ...] = ("n",)) -> Any:
        return helper.make_tensor_value_info(name, kind, list(shape))

    body = helper.make_graph([helper.make_node("Abs", ["h"], ["b"], "/head/Abs")], "body", [], [value("b")])
    other = helper.make_graph([helper.make_node("Neg", ["h"], ["c"], "/head/Neg")], "other", [], [value("c")])
    one = helper.make_tensor("one", TensorProto.FLOAT, [1], [1.0])
    gelu = helper.make_node("Gelu", ["x"], ["g"], "node_gelu", domain="com.microsoft")
    for key, text in (("name_scopes", SCOPE), ("class_hierarchy", KINDS)):
        gelu.metadata_props.append(onnx.StringStringEntryProto(key=f"pkg.torch.onnx.{key}", value=text))
    nodes = [
        helper.make_node("Constant", [], ["k"], value=one),
        gelu,
        helper.make_node("Add", ["g", "k"], ["f"], "/model/blocks/blocks.0/Add"),
        helper.make_node("Twice", ["f"], ["h"], domain="own"),
        helper.make_node("If", ["cond"], ["y"], "cnn_1/If", then_branch=body, else_branch=other),
    ]
    twice = helper.make_function(
        "own", "Twice", ["a"], ["z"], [helper.make_node("Add", ["a", "a"], ["z"])], [helper.make_opsetid("", 17)]
    )
    graph = helper.make_graph(nodes, "g", [value("x"), value("cond", TensorProto.BOOL, ())], [value("y")])
    opsets = [helper.make_opsetid(domain, version) for domain, version in (("", 17), ("com.microsoft", 1), ("own", 1))]
    return helper.make_model(graph, opset_imports=opsets, functions=[twice], ir_version=8)


def test_everything_accepted_passes(hold) -> None:
    """Bodies and functions count, calls of the model's own functions and Constant do not need to be named."""
    found = hold(allowed=["Add", "If", "Abs", "Neg", "com.microsoft.Gelu"], opset_max=17)

    assert (found.verdict, found.figures["offending"]) == (Verdict.PASS, {})


def test_an_operator_of_a_body_is_found(hold) -> None:
    """What only a branch holds is named with its node and the layer its name tells."""
    found = hold(forbidden=["Neg", "Loop"])

    assert found.verdict is Verdict.FAIL
    assert found.summary == "forbidden: Neg x1 (first at /head/Neg, head)"


def test_layer_and_class_come_from_the_exporters_notes(hold) -> None:
    """A node that torch's exporter has annotated is reported with module path and class."""
    found = hold(forbidden=["com.microsoft.*"])

    assert found.figures["offending"]["com.microsoft.Gelu"] == {
        "count": 1,
        "reason": "forbidden by 'com.microsoft.*'",
        "nodes": [{"node": "node_gelu", "layer": "encoder.norm (GELU)", "line": ""}],
    }


def test_layers_come_from_names_otherwise(hold) -> None:
    """Container names that torchscript repeats are folded, tf2onnx's scopes are taken as they stand."""
    found = hold(allowed=["Abs", "Neg", "com.microsoft.Gelu"])

    layers = {name: entry["nodes"][0]["layer"] for name, entry in found.figures["offending"].items()}
    assert layers == {"Add": "blocks.0", "If": "cnn_1"}
    assert found.figures["offending"]["Add"]["count"] == 2


def test_domains_and_opset_are_held_to(hold) -> None:
    """A foreign domain and a newer opset are told in one summary."""
    found = hold(domains=[], opset_max=16)

    assert "opset 17 is newer than opset_max=16" in found.summary
    assert "domain 'com.microsoft' is not among domains=: com.microsoft.Gelu x1" in found.summary
    assert "Export with opset=16 or older" in found.details


@pytest.mark.parametrize(
    ("name", "meant"), [("Losp", "'Loop'"), ("com.microsoft.Gellu", "'com.microsoft.Gelu'"), ("Gemm2", "'Gemm'")]
)
def test_a_misspelt_operator_is_an_error(hold, name: str, meant: str) -> None:
    """A name that no file could hold would let everything pass."""
    with pytest.raises(SpecError, match=f"has no operator .*did you mean {meant}"):
        hold(forbidden=[name])


def test_operators_of_ones_own_domain_are_taken_as_written(hold) -> None:
    """Of a domain that neither ONNX nor ONNX Runtime has nothing can be said."""
    assert hold(forbidden=["my.ops.Magic"]).verdict is Verdict.PASS
