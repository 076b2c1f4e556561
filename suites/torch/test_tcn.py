"""A temporal convolutional network: weight normalisation is worked out at export, and no step sees a later one."""

from model_zoo.torch_signals import build_tcn
from pytest_onnxprep import TensorSpec, latency_budget, onnx_export, parity, size_budget


@onnx_export(
    build_tcn,
    inputs={"signal": TensorSpec("float32", "batch, 4, time", low=-3, high=3)},
    outputs={"forecast": "float32[batch, 2, time]"},
    dims={"batch": (1, 4), "time": (1, 64)},
    opset=[17, 20],
)
@parity(atol=1e-5, rtol=1e-4)
@latency_budget(p95_ms=3, at={"batch": 1, "time": 48})
@size_budget(mb=0.1)
def test_tcn(onnx_model):
    import numpy as np

    signal = np.random.default_rng(0).standard_normal((1, 4, 30)).astype("float32")
    later = signal.copy()
    later[:, :, 20:] += 1
    before, after = (onnx_model.run({"signal": values})["forecast"] for values in (signal, later))
    assert np.array_equal(before[:, :, :20], after[:, :, :20])
    assert not np.array_equal(before[:, :, 20:], after[:, :, 20:])
