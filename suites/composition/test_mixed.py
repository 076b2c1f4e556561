"""A pipeline of two frameworks: a Keras feature extractor, and a head that was trained in PyTorch."""

from pytest_onnxprep import Pipeline, Stage, TensorSpec, latency_budget, onnx_export, parity, size_budget


def build_extractor():
    """A small Keras CNN without its head: `image float32[batch, h, w, 3]` to `features float32[batch, 24]`."""
    import keras

    keras.utils.set_random_seed(61)
    return keras.Sequential(
        [
            keras.Input((None, None, 3), name="image"),
            keras.layers.Conv2D(12, 3, strides=2, activation="relu"),
            keras.layers.Conv2D(24, 3, strides=2, activation="relu"),
            keras.layers.GlobalAveragePooling2D(),
        ]
    )


def build_probe():
    """A linear probe in PyTorch: 24 features to five classes."""
    import torch

    from model_zoo._torch_seeding import fixed_seed

    with fixed_seed(62):
        return torch.nn.Sequential(torch.nn.LayerNorm(24), torch.nn.Linear(24, 5)).eval()


@onnx_export(
    Pipeline([Stage(build_extractor, outputs=["features"]), Stage(build_probe, outputs=["logits"])]),
    inputs={"image": TensorSpec("float32", "batch, h, w, 3", low=0, high=1)},
    dims={"batch": (1, 3), "h": (16, 40), "w": (16, 40)},
    opset=18,
)
@parity(max_examples=16)
@latency_budget(p95_ms=10, at={"batch": 1, "h": 32, "w": 32})
@size_budget(mb=0.05)
def test_keras_features_and_a_torch_probe(onnx_model):
    assert [stage.variant.exporter for stage in onnx_model.stages.values()] == ["tf2onnx", "dynamo"]
