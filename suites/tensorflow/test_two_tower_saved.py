"""A SavedModel by one of its signatures; its weights and variables are constants of the graph, and no inputs."""

from model_zoo.keras_models import build_two_tower
from model_zoo.model_files import build_saved_model
from pytest_onnxprep import latency_budget, onnx_export, parity, size_budget


@onnx_export(build_saved_model, dims={"batch": (1, 8)}, opset=[17, 18])
@parity(atol=1e-5, rtol=1e-4)
@latency_budget(p95_ms=2, at={"batch": 1})
@size_budget(mb=5)
def test_two_tower_saved(onnx_model):
    import numpy as np

    assert {value.name for value in onnx_model.proto.graph.input} == {"history", "item"}
    history = np.arange(6, dtype="int32").reshape(2, 3)
    item = np.linspace(-1, 1, 32, dtype="float32").reshape(2, 16)
    feeds = {"history": history, "item": item}
    probability = build_two_tower()(feeds, training=False)["match"].numpy()
    # The signature that was asked for: the default one gives the probability itself under the same name.
    assert np.allclose(onnx_model.run(feeds)["match"], 1 + 4 * probability, atol=1e-5)
