"""A SavedModel by one of its signatures; its weights are constants of the graph, and no inputs."""

from model_zoo.model_files import build_saved_model
from pytest_onnxprep import latency_budget, onnx_export, parity, size_budget


@onnx_export(build_saved_model, dims={"batch": (1, 8)}, opset=[17, 18])
@parity(atol=1e-5, rtol=1e-4)
@latency_budget(p95_ms=2, at={"batch": 1})
@size_budget(mb=5)
def test_two_tower_saved(onnx_model):
    assert len(onnx_model.proto.graph.input) == 2
