"""A graph network sums over edges by scatter-add; node ids must be below the number of nodes, so a maker draws them."""

import pytest

from model_zoo.torch_tables import build_gcn
from pytest_onnxprep import latency_budget, onnx_export, parity, size_budget


def graph(dims, rng):
    """Features of the nodes, and edges between nodes that exist: some of them twice, some from a node to itself."""
    return {
        "features": rng.standard_normal((dims["nodes"], 16)).astype("float32"),
        "edges": rng.integers(0, dims["nodes"], (2, dims["edges"])),
    }


@pytest.mark.quick
@onnx_export(
    build_gcn,
    inputs={"features": "float32[nodes, 16]", "edges": "int64[2, edges]"},
    outputs={"logits": "float32[nodes, 7]"},
    dims={"nodes": (1, 24), "edges": (0, 64)},
    generate=graph,
    exporter=["torchscript", "dynamo"],
    opset=18,
)
@parity(atol=1e-5, rtol=1e-4)
@latency_budget(p95_ms=2, at={"nodes": 16, "edges": 48})
@size_budget(mb=0.08)
def test_gcn(onnx_model):
    import numpy as np

    # The same edge four times counts four times: ScatterElements without reduction="add" would keep one.
    edges = np.array([[1, 1, 1, 1], [0, 0, 0, 0]])
    feeds = {"features": np.eye(2, 16, dtype="float32"), "edges": edges}
    single = {**feeds, "edges": edges[:, :1]}
    assert np.abs(onnx_model.run(feeds)["logits"] - onnx_model.run(single)["logits"]).max() > 1e-3
