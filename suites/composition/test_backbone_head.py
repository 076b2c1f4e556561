"""A classifier cut into backbone and head: two files, held to the undivided model."""

from model_zoo.torch_vision import build_mobilenet_v2
from pytest_onnxprep import Pipeline, Stage, TensorSpec, latency_budget, onnx_export, parity, size_budget
from suites.composition.parts import build_backbone, build_head


@onnx_export(
    Pipeline(
        [
            build_backbone,
            Stage(
                build_head,
                inputs={"features": TensorSpec("float32", "batch, 1280, rows, columns", low=0, high=6)},  # after ReLU6
                outputs=["logits"],
            ),
        ],
        reference=build_mobilenet_v2,
    ),
    inputs={"image": "float32[batch, 3, h, w]"},
    dims={"batch": (1, 2), "h": (32, 64), "w": (32, 64)},
    exporter="torchscript",
    opset=17,
)
@parity(atol=1e-4, rtol=1e-3, max_examples=12)
@latency_budget(p95_ms=40, at={"batch": 1, "h": 64, "w": 64})
@size_budget(mb=14.5)
def test_backbone_and_head(onnx_model):
    assert list(onnx_model.stages) == ["backbone", "head"]
    assert onnx_model.stages["head"].operators["Gemm"] == 1
    described = onnx_model.describe().to_json()
    assert {name: part["operators"].get("Gemm", 0) for name, part in described.items()} == {"backbone": 0, "head": 1}
