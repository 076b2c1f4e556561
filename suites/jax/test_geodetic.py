"""A satellite receiver's positions in float64: a float32 would be half a metre off; jax2onnx keeps the doubles."""

import numpy as np

from model_zoo.jax_positioning import EQUATOR_M, build_geodetic
from pytest_onnxprep import latency_budget, onnx_export, parity, size_budget


def on_earth(dims, rng):
    """Places within twenty kilometres of the equator's radius, in every direction."""
    way = rng.normal(size=(dims["fixes"], 3))
    radius = rng.uniform(EQUATOR_M - 20e3, EQUATOR_M + 20e3, size=(dims["fixes"], 1))
    return {"place": way / np.linalg.norm(way, axis=1, keepdims=True) * radius}


@onnx_export(
    build_geodetic,
    inputs={"place": "float64[fixes, 3]"},
    outputs={"position": "float64[fixes, 3]"},
    dims={"fixes": (1, 32)},
    generate=on_earth,
    opset=[17, 23],
)
@parity(atol=1e-8)  # metres, and a nano-degree is a tenth of a millimetre
@latency_budget(p95_ms=1, at={"fixes": 1})
@size_budget(mb=0.02)
def test_geodetic(onnx_model):
    kinds = {value.type.tensor_type.elem_type for value in onnx_model.proto.graph.input}
    assert kinds == {11}  # double
    london = onnx_model.run({"place": np.array([[3977970.0, -8927.0, 4969046.0]])})["position"][0]
    assert np.allclose(london, [51.5, -0.13, 20], atol=[0.02, 0.02, 2000])
