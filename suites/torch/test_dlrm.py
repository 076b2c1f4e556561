"""A recommendation model: bags of row ids into tables, all pairs of vectors compared."""

from model_zoo.torch_tables import build_dlrm
from pytest_onnxprep import TensorSpec, latency_budget, onnx_export, parity, size_budget


@onnx_export(
    build_dlrm,
    inputs={
        "dense": TensorSpec("float32", "batch, 13", low=0, high=3),
        "items": TensorSpec("int64", "batch, 4, bag", low=0, high=100),
    },
    outputs={"click": "float32[batch]"},
    dims={"batch": (1, 16), "bag": (1, 6)},
    opset=17,
)
@parity()
@latency_budget(p95_ms=1, at={"batch": 4, "bag": 4})
@size_budget(mb=0.06)
def test_dlrm(onnx_model):
    import numpy as np

    click = onnx_model.run({"dense": np.ones((2, 13), "float32"), "items": np.zeros((2, 4, 3), "int64")})["click"]
    assert ((click > 0) & (click < 1)).all()
