"""PointNet reads a cloud of points: any number of them, in any order."""

from model_zoo.torch_vision import build_pointnet
from pytest_onnxprep import TensorSpec, latency_budget, onnx_export, parity, size_budget


@onnx_export(
    build_pointnet,
    inputs={"points": TensorSpec("float32", "batch, points, 3", low=-1, high=1)},
    outputs={"logits": "float32[batch, 10]"},
    dims={"batch": (1, 4), "points": (1, 96)},
    opset=[17, 20],
)
@parity(atol=1e-4, rtol=1e-4)
@latency_budget(p95_ms=5, at={"batch": 1, "points": 64})
@size_budget(mb=0.13)
def test_pointnet(onnx_model):
    import numpy as np

    cloud = np.random.default_rng(0).uniform(-1, 1, (1, 20, 3)).astype("float32")
    straight, reversed_ = (onnx_model.run({"points": points})["logits"] for points in (cloud, cloud[:, ::-1].copy()))
    assert np.allclose(straight, reversed_, atol=1e-5)
