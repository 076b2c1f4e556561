"""Tasks of Transformers that have no model in the zoo: what they take is read off their configs and nothing else."""

import functools

import pytest

from model_zoo._torch_seeding import fixed_seed
from pytest_onnxprep import onnx_export, parity

transformers = pytest.importorskip("transformers")

SMALL = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 48}
SOUND = {
    "conv_dim": (16, 16),
    "conv_stride": (5, 2),
    "conv_kernel": (10, 3),
    "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 4,
    "num_feat_extract_layers": 2,
    **SMALL,
}
TEXT, PICTURE = {"vocab_size": 64, **SMALL}, {"image_size": 32, "patch_size": 8, **SMALL}
BART = {
    "vocab_size": 64,
    "d_model": 32,
    "encoder_layers": 1,
    "decoder_layers": 1,
    "encoder_attention_heads": 2,
    "decoder_attention_heads": 2,
    "encoder_ffn_dim": 48,
    "decoder_ffn_dim": 48,
    "max_position_embeddings": 64,
}

#: Class of the model -> class of its config, and what the config says.
MODELS = {
    "BertForMultipleChoice": ("BertConfig", TEXT),
    "BertForMaskedLM": ("BertConfig", TEXT),
    "BartForConditionalGeneration": ("BartConfig", BART),
    "ASTForAudioClassification": ("ASTConfig", {"max_length": 64, "num_mel_bins": 32, **SMALL}),
    "Wav2Vec2ForCTC": ("Wav2Vec2Config", {"vocab_size": 16, **SOUND}),
    "HubertModel": ("HubertConfig", SOUND),
    "SwinForImageClassification": (
        "SwinConfig",
        {"image_size": 32, "patch_size": 2, "embed_dim": 16, "depths": [1, 1], "num_heads": [2, 2], "window_size": 4},
    ),
    "ConvNextForImageClassification": (
        "ConvNextConfig",
        {"image_size": 32, "hidden_sizes": [8, 16], "depths": [1, 1], "num_stages": 2},
    ),
    "ResNetForImageClassification": (
        "ResNetConfig",
        {"embedding_size": 8, "hidden_sizes": [8, 16], "depths": [1, 1]},
    ),
    "SiglipModel": (
        "SiglipConfig",
        {"text_config": {"max_position_embeddings": 16, **TEXT}, "vision_config": PICTURE},
    ),
}


def build(name):
    config, arguments = MODELS[name]
    with fixed_seed(5):
        return getattr(transformers, name)(getattr(transformers, config)(**arguments)).eval()


@pytest.fixture
def model(name):
    """A factory of one of them."""
    return functools.partial(build, name)


@pytest.mark.parametrize("name", MODELS)
@onnx_export(exporter="torchscript")
@parity(max_examples=15)
def test_task(onnx_model):
    assert onnx_model.signature.dims  # at least the batch is open
