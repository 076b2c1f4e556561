"""Ultralytics' own YOLO11 architectures, random weights, pictures of any size that halves five times."""

import functools

from model_zoo._torch_seeding import fixed_seed, trained_like
from pytest_onnxprep import Dim, TensorSpec, latency_budget, onnx_export, parity, size_budget

PICTURE = TensorSpec("float32", "batch, 3, h, w", low=0, high=1)
SIZES = {"batch": (1, 2), "h": Dim(64, 160, multiple_of=32), "w": Dim(64, 160, multiple_of=32)}


def build(name):
    """Build one of the package's architectures as its own exporter sets it: one tensor out, anchors worked out anew."""
    from ultralytics import YOLO

    with fixed_seed(11):
        model = trained_like(YOLO(f"{name}.yaml", verbose=False).model)
    head = model.model[-1]
    head.export, head.format, head.dynamic = True, "onnx", True
    return model.float().eval()


@onnx_export(
    functools.partial(build, "yolo11n"),
    inputs={"images": PICTURE},
    outputs=["detections"],
    dims=SIZES,
    opset=[17, 20],
)
@parity(atol=1e-3, rtol=1e-3)  # boxes are in pixels
@latency_budget(p95_ms=150, at={"batch": 1, "h": 160, "w": 160})
@size_budget(mb=11.5)  # dynamo writes where each node comes from: 0.7 MB more
def test_yolo11n(onnx_model):
    import numpy as np

    answers = onnx_model.run({"images": np.zeros((1, 3, 64, 96), "float32")})
    anchors = sum((64 // stride) * (96 // stride) for stride in (8, 16, 32))
    assert answers["detections"].shape == (1, 4 + 80, anchors)
    assert "BatchNormalization" not in onnx_model.operators


@onnx_export(
    functools.partial(build, "yolo11n-cls"),
    inputs={"images": PICTURE},
    outputs=["chances"],
    dims=SIZES,
    opset=[17, 20],
)
@parity(atol=1e-4, rtol=1e-3)
@latency_budget(p95_ms=80, at={"batch": 1, "h": 96, "w": 96})
@size_budget(mb=13)
def test_yolo11n_classifier(onnx_model):
    import numpy as np

    answers = onnx_model.run({"images": np.zeros((2, 3, 64, 64), "float32")})
    assert np.allclose(answers["chances"].sum(axis=1), 1, atol=1e-4)


@onnx_export(
    functools.partial(build, "yolo11n-seg"),
    inputs={"images": PICTURE},
    outputs=["detections", "prototypes"],
    dims=SIZES,
    opset=[17, 20],
)
@parity(atol=1e-3, rtol=1e-3)
@latency_budget(p95_ms=200, at={"batch": 1, "h": 160, "w": 160})
@size_budget(mb=12.5)
def test_yolo11n_masks(onnx_model):
    import numpy as np

    answers = onnx_model.run({"images": np.zeros((1, 3, 64, 96), "float32")})
    assert answers["prototypes"].shape == (1, 32, 16, 24)
