"""A model from where the library keeps it: a folder of `save_pretrained`, and a `config.json` with no weights yet."""

from model_zoo.keras_files import build_config_file, build_pretrained_folder
from pytest_onnxprep import latency_budget, onnx_export, parity, size_budget


@onnx_export(build_pretrained_folder, dims={"batch": (1, 4), "seq": (1, 32)}, opset=17)
@parity(max_examples=15)
@latency_budget(p95_ms=10, at={"batch": 1, "seq": 32})
@size_budget(mb=2.1)
def test_folder(onnx_model):
    import numpy as np
    from safetensors.numpy import load_file

    kept = load_file(build_pretrained_folder() / "model.safetensors")["distilbert.embeddings.word_embeddings.weight"]
    held = [weight for weight in onnx_model.proto.graph.initializer if list(weight.dims) == list(kept.shape)]
    assert np.array_equal(np.frombuffer(held[0].raw_data, "float32").reshape(kept.shape), kept)


@onnx_export(build_config_file, dims={"batch": (1, 6)}, opset=17)
@parity(max_examples=15)
@latency_budget(p95_ms=5, at={"batch": 1})
@size_budget(mb=0.65)
def test_config(onnx_model):
    assert str(onnx_model.signature.inputs["pixel_values"]) == "float32[batch, 3, 32, 32]"  # read from the config
    assert onnx_model.output_names == ["logits"]
