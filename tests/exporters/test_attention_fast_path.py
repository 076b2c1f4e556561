"""Attention in eval mode, which torch fuses into operators that ONNX does not have."""

from __future__ import annotations

from typing import Any


def test_torchscript_exports_a_transformer_encoder_in_eval_mode(tmp_path: Any) -> None:
    """The fused fast path is off while tracing, and on again afterwards."""
    import torch

    from pytest_onnxprep.artifacts.store import Store
    from pytest_onnxprep.exporters.workshop import Workshop
    from pytest_onnxprep.sources.torch_module import TorchSource
    from pytest_onnxprep.spec.signature import Signature
    from pytest_onnxprep.spec.tensor import TensorSpec
    from pytest_onnxprep.spec.variant import Variant

    layer = torch.nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    encoder = torch.nn.TransformerEncoder(layer, 1, enable_nested_tensor=False).eval()
    signature = Signature({"src": TensorSpec("float32", "batch, 5, 8")})
    workshop = Workshop(Store(tmp_path / "cache", run_dir=tmp_path / "run"))

    model = workshop.export(TorchSource(encoder), signature, Variant("torchscript", 17))

    assert model.operators["Softmax"] == 1
    assert torch.backends.mha.get_fastpath_enabled()
