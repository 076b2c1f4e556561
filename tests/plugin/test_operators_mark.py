"""Stories about the mark ``operators``."""

from __future__ import annotations


def test_an_operator_that_is_not_accepted_fails_its_own_item(story) -> None:
    """The message names the operator, how often, the node and the layer; -m operators selects the item."""
    outcome = story(
        """
        @onnx_export(build, inputs=X, exporter="torchscript", opset=17)
        @operators(forbidden=["Softmax"], opset_max=17)
        def test_net(onnx_model): pass
        """
    )

    assert outcome.verdicts == {
        "test_net[torchscript-opset17-export]": "pass",
        "test_net[torchscript-opset17-operators]": "fail",
    }
    assert "forbidden: Softmax x1 (first at /model/Softmax)" in outcome.text
    assert len(story.run("-m", "operators").records) == 1


FOREIGN = """
import onnx
from onnx import TensorProto, helper
values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n"]) for name in "xy"]
node = helper.make_node("Gelu", ["x"], ["y"], domain="com.microsoft")
opsets = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
graph = helper.make_graph([node], "g", values[:1], values[1:])
onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=8), "gelu.onnx")
"""


def test_accepting_a_foreign_operator_declares_its_domain(story) -> None:
    """``operators(allowed=...)`` adds to the domains that ``options`` declares, and narrows nothing where none are."""
    outcome = story(
        f"""{FOREIGN}
@onnx_export("gelu.onnx", options={{"domains": ["own"]}})
@operators(allowed=["com.microsoft.Gelu"])
def test_declared(onnx_model): pass

@onnx_export("gelu.onnx", options={{"domains": ["own"]}})
@operators(forbidden=["Loop"])
def test_not_declared(onnx_model): pass

@onnx_export("gelu.onnx")
@operators(domains=["ai.onnx.ml"])
def test_as_it_is(onnx_model): pass
"""
    )

    assert list(outcome.verdicts.values()) == ["pass", "pass", "fail", "fail", "pass", "fail"]
    assert "operator com.microsoft.Gelu (1x) is outside the declared domains" in outcome.text
    assert "domain 'com.microsoft' is not among domains=: com.microsoft.Gelu x1" in outcome.text


def test_the_parts_of_a_pipeline_are_held_to_it_together(story) -> None:
    """Operators count over all files, and a target holds all of them in one process."""
    outcome = story(
        """
        def build_first():
            return nn.Linear(4, 5).eval()

        def build_second():
            return nn.Sequential(nn.Linear(5, 2), nn.Softmax(-1)).eval()

        @onnx_export(Pipeline([build_first, build_second]), inputs=X, exporter="torchscript", opset=17)
        @operators(allowed=["Gemm"])
        def test_both(onnx_model): pass
        """,
        "--onnxprep-profile",
        "--onnxprep-target=raspberry-pi-4",
    )

    verdicts = {record["check"]: record["verdict"] for record in outcome.records.values()}
    assert verdicts == {"export": "pass", "operators": "fail", "fits": "pass", "profile": "pass"}
    assert outcome.one("operators")["figures"]["offending"]["Softmax"]["count"] == 1
    assert "2 files in one process" in outcome.one("fits")["summary"]
