"""What is derived from a Transformers config for each task, and that the model takes it."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from pytest_onnxprep.errors import SourceError  # noqa: E402
from pytest_onnxprep.fuzz.recipes import make_array, recipes_for  # noqa: E402
from pytest_onnxprep.sources.load import load_source  # noqa: E402
from pytest_onnxprep.spec.dims import Dim  # noqa: E402
from pytest_onnxprep.spec.signature import Signature  # noqa: E402

SMALL = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
TEXT = {**SMALL, "vocab_size": 50, "bos_token_id": 0, "eos_token_id": 2, "pad_token_id": 1}
T5 = {"vocab_size": 50, "d_model": 16, "d_kv": 8, "d_ff": 32, "num_layers": 1, "num_heads": 2}
SOUND = {
    "d_model": 16, "encoder_layers": 1, "decoder_layers": 1, "encoder_attention_heads": 2, "decoder_attention_heads": 2,
    "encoder_ffn_dim": 16, "decoder_ffn_dim": 16, "vocab_size": 60, "max_source_positions": 10, "num_mel_bins": 8,
    "max_target_positions": 12, "pad_token_id": 1, "decoder_start_token_id": 1, "bos_token_id": 1, "eos_token_id": 2,
}  # fmt: skip
PICTURE = {**SMALL, "image_size": 16, "patch_size": 8}
WAVE = {
    **SMALL, "vocab_size": 30, "conv_dim": [8, 8], "conv_kernel": [10, 3], "conv_stride": [5, 2],
    "num_feat_extract_layers": 2, "num_conv_pos_embeddings": 4, "num_conv_pos_embedding_groups": 2,
}  # fmt: skip
PYRAMID = {"depths": [1] * 4, "hidden_sizes": [8, 8, 16, 16], "num_attention_heads": [1, 1, 2, 2]}


def build(name, **config):
    """A model of the library with random weights."""
    architecture = getattr(transformers, name)
    return architecture(architecture.config_class(**config)).eval()


def clip():
    """Texts and pictures."""
    text = {**TEXT, "max_position_embeddings": 12}
    return build("CLIPModel", text_config=text, vision_config=PICTURE, projection_dim=8)


def shown(signature):
    """Inputs as text, and the ranges of their dims."""
    return {name: str(spec) for name, spec in signature.inputs.items()}, {k: str(v) for k, v in signature.dims.items()}


ROWS = {"input_ids": "int64[batch, seq]", "attention_mask": "int64[batch, seq]"}
TARGET = {"decoder_input_ids": "int64[batch, target]"}
BATCH = {"batch": "1..8"}
CASES = {
    "token classification": (
        lambda: build("RobertaForTokenClassification", **TEXT, max_position_embeddings=34),
        ROWS,
        BATCH | {"seq": "1..32"},  # RoBERTa's positions start behind the padding index
    ),
    "question answering": (
        lambda: build("BertForQuestionAnswering", **TEXT),
        ROWS | {"token_type_ids": "int64[batch, seq]"},
        BATCH | {"seq": "1..64"},
    ),
    "multiple choice": (
        lambda: build("BertForMultipleChoice", **TEXT),
        dict.fromkeys(ROWS, "int64[batch, choices, seq]"),
        BATCH | {"seq": "1..64", "choices": "2..4"},
    ),
    "no mask": (
        lambda: build("FNetModel", hidden_size=16, num_hidden_layers=1, intermediate_size=32, vocab_size=50),
        {"input_ids": "int64[batch, seq]"},
        BATCH | {"seq": "1..64"},
    ),
    "text to text": (
        lambda: build("T5ForConditionalGeneration", **T5, decoder_start_token_id=0),
        ROWS | TARGET,
        BATCH | {"seq": "1..64", "target": "1..64"},
    ),
    "encoder of it": (lambda: build("T5EncoderModel", **T5), ROWS, BATCH | {"seq": "1..64"}),
    "speech to text": (
        lambda: build("WhisperForConditionalGeneration", **SOUND),
        {"input_features": "float32[batch, 8, 20]", **TARGET},
        BATCH | {"target": "1..12"},
    ),
    "sound class": (
        lambda: build("WhisperForAudioClassification", **SOUND),
        {"input_features": "float32[batch, 8, 20]"},
        BATCH,
    ),
    "spectrogram": (
        lambda: build("ASTForAudioClassification", **SMALL, patch_size=8, max_length=32, num_mel_bins=16),
        {"input_values": "float32[batch, 32, 16]"},
        BATCH,
    ),
    "waveform": (
        lambda: build("Wav2Vec2ForCTC", **WAVE),
        {"input_values": "float32[batch, samples]"},
        BATCH | {"samples": "30..170"},  # 2 to 16 frames
    ),
    "picture": (
        lambda: build("ViTForImageClassification", **PICTURE),
        {"pixel_values": "float32[batch, 3, 16, 16]"},
        BATCH,
    ),
    "free picture": (
        lambda: build("SegformerForSemanticSegmentation", **PYRAMID, decoder_hidden_size=16),
        {"pixel_values": "float32[batch, 3, height, width]"},
        BATCH | dict.fromkeys(("height", "width"), "64..128, multiples of 32"),
    ),
    "text and picture": (
        clip,
        dict.fromkeys(ROWS, "int64[texts, seq]") | {"pixel_values": "float32[batch, 3, 16, 16]"},
        BATCH | {"seq": "1..12", "texts": "1..8"},
    ),
}


def runs_at_the_ends(source, signature):
    """Run the model at its smallest and largest sizes."""
    rng = np.random.default_rng(0)
    for end in ("smallest", "largest"):
        sizes = {name: getattr(dim, end) for name, dim in signature.dims.items()}
        feeds = {
            name: make_array(recipes_for(name, spec)[0], spec, spec.concrete(sizes), rng)
            for name, spec in signature.inputs.items()
        }
        answers = source.run(feeds, signature)
    return answers


@pytest.mark.parametrize("task", CASES)
def test_inputs_of_a_task(task):
    """Names, shapes and ranges follow from the config, and the model takes both ends of them."""
    make, inputs, dims = CASES[task]
    source = load_source(make())
    signature = source.derived_signature()

    assert shown(signature) == (inputs, dims)
    assert runs_at_the_ends(source, signature)


def test_value_ranges():
    """Tokens stay within the vocabulary, token types within their number, pictures and sound are normalised."""
    answering = load_source(build("BertForQuestionAnswering", **TEXT)).derived_signature().inputs
    hearing = load_source(build("WhisperForConditionalGeneration", **SOUND)).derived_signature().inputs

    assert (answering["input_ids"].low, answering["input_ids"].high) == (0, 50)
    assert (answering["token_type_ids"].low, answering["token_type_ids"].high) == (0, 2)
    assert hearing["decoder_input_ids"].high == 60
    assert (hearing["input_features"].low, hearing["input_features"].high) == (-2, 2)


def test_generating_models_are_padded_on_either_side():
    """Decoders are padded on the left before they generate; an encoder is padded on the right."""
    llama = load_source(build("LlamaForCausalLM", **TEXT)).derived_signature()
    bert = load_source(build("BertModel", **TEXT)).derived_signature()

    assert llama.inputs["attention_mask"].values == "padding"
    assert bert.inputs["attention_mask"].values == "mask"


def with_past(source, past=(1, 6)):
    """The step that a dim called ``past`` asks for."""
    derived = source.signature_for({"past": Dim(*past)})
    return Signature(derived.inputs, None, {**derived.dims, "past": Dim(*past)})


def test_step_from_a_cache():
    """Heads and widths are the cache's own: two heads ask one for its keys here."""
    source = load_source(build("LlamaForCausalLM", **TEXT, num_key_value_heads=1, max_position_embeddings=32))
    signature = with_past(source)
    cache = dict.fromkeys((f"past_key_values.0.{kind}" for kind in ("key", "value")), "float32[batch, 1, past, 8]")

    assert shown(signature) == (
        {
            "input_ids": "int64[batch, seq]",
            "attention_mask": "int64[batch, past + seq]",
            "position_ids": "int64[batch, seq]",
            **cache,
        },
        BATCH | {"seq": "1..8", "past": "1..6"},
    )
    assert signature.inputs["position_ids"].high == 32
    assert runs_at_the_ends(source, signature)["present.0.key"].shape == (8, 1, 14, 8)


@pytest.mark.parametrize(
    ("make", "asks", "said"),
    [
        (CASES["text to text"][0], ["attention_mask", "decoder_input_ids"], "seq"),
        (CASES["speech to text"][0], ["decoder_input_ids"], "10"),
    ],
)
def test_step_of_a_decoder_with_an_encoder(make, asks, said):
    """It takes its own past and what the encoder said as keys and values; the encoder does not run again."""
    source = load_source(make())
    signature = with_past(source)

    assert [name for name in signature.inputs if "past" not in name] == asks
    assert str(signature.inputs["past_key_values.0.decoder.key"]) == "float32[batch, 2, past, 8]"
    assert str(signature.inputs["past_key_values.0.encoder.value"]) == f"float32[batch, 2, {said}, 8]"
    assert "present.0.encoder.value" in runs_at_the_ends(source, signature)


@pytest.mark.parametrize("task", ["text to text", "speech to text"])
def test_decoder_goes_on(task):
    """The last logits of a whole text are those of its last token after a cache of the others."""
    source = load_source(CASES[task][0]())
    whole = source.derived_signature()
    rng = np.random.default_rng(1)
    sizes = {"batch": 2, "seq": 5, "target": 4}
    feeds = {
        name: make_array("ones" if "mask" in name else recipes_for(name, spec)[0], spec, spec.concrete(sizes), rng)
        for name, spec in whole.inputs.items()
    }
    step = with_past(source)
    present = [name.replace("past_key_values", "present") for name in step.inputs if "past_key" in name]
    first = source.run(
        {**feeds, "decoder_input_ids": feeds["decoder_input_ids"][:, :3]},
        Signature(whole.inputs, dict.fromkeys(present), whole.dims),
    )
    past = {name: first[name.replace("past_key_values", "present")] for name in step.inputs if "past_key" in name}
    last = {"decoder_input_ids": feeds["decoder_input_ids"][:, 3:]} | past
    if "attention_mask" in feeds:
        last["attention_mask"] = feeds["attention_mask"]
    logits = source.run(last, step)["logits"]

    np.testing.assert_allclose(logits[:, 0], source.run(feeds, whole)["logits"][:, 3], atol=1e-5)


@pytest.mark.parametrize(
    ("name", "config", "words"),
    [
        ("BertModel", TEXT, "does not go on from a cache"),
        ("ViTModel", PICTURE, "does not go on from a cache"),
        ("LlamaForCausalLM", {**TEXT, "max_position_embeddings": 6}, "leaves no position for a new token: .* has 6"),
    ],
)
def test_past_that_cannot_be(name, config, words):
    """A model without a cache, and a past that fills every position."""
    with pytest.raises(SourceError, match=words):
        load_source(build(name, **config)).signature_for({"past": Dim(1, 6)})


def test_other_inputs_have_to_be_declared():
    """A model that reads something else says so."""
    model = build("BertModel", **TEXT)
    model.main_input_name = "dna"

    with pytest.raises(SourceError, match=r"not for 'dna'; write inputs="):
        load_source(model).derived_signature()


def test_sound_of_unknown_form():
    """A config that says nothing about frames is told which words were looked for."""
    model = build("ASTForAudioClassification", **SMALL, patch_size=8, max_length=32, num_mel_bins=16)
    model.config.max_length = 0

    with pytest.raises(SourceError, match=r"num_mel_bins with max_source_positions .* inputs=\{'input_values'"):
        load_source(model).derived_signature()
