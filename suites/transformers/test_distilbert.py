"""A DistilBERT classifier, inputs written out by nobody: the plugin reads them from the model's config."""

from model_zoo.transformers_models import build_distilbert_classifier
from pytest_onnxprep import latency_budget, onnx_export, parity, size_budget, throughput_budget


@onnx_export(
    build_distilbert_classifier,
    dims={"batch": (1, 8), "seq": (1, 64)},
    exporter=["dynamo", "transformers"],
    opset=20,
)
@parity(atol=1e-5, rtol=1e-4)
@latency_budget(p95_ms=3, at={"batch": 1, "seq": 32})
@size_budget(mb=2.5)
def test_distilbert(onnx_model):
    assert {value.name for value in onnx_model.proto.graph.input} == {"input_ids", "attention_mask"}
    assert onnx_model.operators["LayerNormalization"] == 7


@onnx_export(
    build_distilbert_classifier,
    dims={"batch": (1, 8), "seq": (1, 64)},
    exporter="torchscript",
    opset=17,  # for runtimes that are not up to opset 18 yet
)
@parity(atol=1e-5, rtol=1e-4)
@latency_budget(p95_ms=3, at={"batch": 1, "seq": 32})
@throughput_budget(min_per_s=500, at={"batch": 8, "seq": 32})
@size_budget(mb=2.1)
def test_distilbert_opset17(onnx_model):
    assert onnx_model.opset == 17
