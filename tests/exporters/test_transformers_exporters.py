"""Tiny Transformers models through torch's exporters and the library's own."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
pytest.importorskip("onnxscript")

from pytest_onnxprep.errors import ContractViolation, ExporterError, SourceError  # noqa: E402
from pytest_onnxprep.spec.tensor import TensorSpec  # noqa: E402

SMALL = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}


def bert():
    """Classifies text."""
    return transformers.BertForSequenceClassification(
        transformers.BertConfig(**SMALL, vocab_size=50, max_position_embeddings=32)
    ).eval()


def distilbert():
    """Another tokenless signature: no token types."""
    config = transformers.DistilBertConfig(
        vocab_size=50, dim=16, n_layers=1, n_heads=2, hidden_dim=32, max_position_embeddings=32
    )
    return transformers.DistilBertModel(config).eval()


def gpt2():
    """Generates text, with a cache."""
    config = transformers.GPT2Config(
        vocab_size=50, n_embd=16, n_layer=1, n_head=2, n_positions=32, bos_token_id=0, eos_token_id=1
    )
    return transformers.GPT2LMHeadModel(config).eval()


def vit():
    """Looks at pictures."""
    return transformers.ViTForImageClassification(transformers.ViTConfig(**SMALL, image_size=16, patch_size=8)).eval()


def t5():
    """An encoder and a decoder in one."""
    config = transformers.T5Config(
        vocab_size=50, d_model=16, d_kv=8, d_ff=32, num_layers=1, num_heads=2, decoder_start_token_id=0
    )
    return transformers.T5ForConditionalGeneration(config).eval()


def whisper():
    """Hears and writes."""
    config = transformers.WhisperConfig(
        d_model=16, encoder_layers=1, decoder_layers=1, encoder_attention_heads=2, decoder_attention_heads=2,
        encoder_ffn_dim=16, decoder_ffn_dim=16, vocab_size=60, max_source_positions=10, num_mel_bins=8,
        max_target_positions=12, pad_token_id=1, decoder_start_token_id=1, bos_token_id=1, eos_token_id=2,
    )  # fmt: skip
    return transformers.WhisperForConditionalGeneration(config).eval()


def clip():
    """Compares texts with pictures."""
    text = {**SMALL, "vocab_size": 50, "bos_token_id": 48, "eos_token_id": 49, "pad_token_id": 0}
    vision = {**SMALL, "image_size": 16, "patch_size": 8}
    return transformers.CLIPModel(transformers.CLIPConfig(text_config=text, vision_config=vision)).eval()


TEXT = {"input_ids": ["batch", "seq"], "attention_mask": ["batch", "seq"]}
CASES = [
    (bert, TEXT, ["logits"]),
    (distilbert, TEXT, ["last_hidden_state"]),
    (gpt2, TEXT, ["logits"]),
    (vit, {"pixel_values": ["batch", 3, 16, 16]}, ["logits"]),
]
PAST = {f"past_key_values.0.{kind}": "float32[batch, 2, past, 8]" for kind in ("key", "value")}
CACHED = {
    "input_ids": TensorSpec("int64", "batch, seq", low=0, high=50),
    "attention_mask": TensorSpec("int64", "batch, past + seq", values="mask"),
    **PAST,
}


@pytest.mark.parametrize(("build", "inputs", "outputs"), CASES, ids=lambda case: getattr(case, "__name__", ""))
def test_derived_signature_is_exported(export, build, inputs, outputs):
    """What the config tells about the inputs ends up in the file, by the TorchScript exporter."""
    model = export(build(), "torchscript")

    assert (export.inputs(model), list(export.outputs(model))) == (inputs, outputs)
    export.agrees(model, batch=3)


def test_encoder_and_decoder(export):
    """A sequence-to-sequence model takes the decoder's tokens too, and gives no cache nobody asked for."""
    model = export(t5(), "torchscript")

    assert export.inputs(model)["decoder_input_ids"] == ["batch", "target"]
    assert list(export.outputs(model)) == ["logits", "encoder_last_hidden_state"]
    export.agrees(model, seq=7, target=3)


def test_texts_and_pictures(export):
    """Their numbers are free of each other, in the file too."""
    model = export(clip(), "torchscript")

    assert export.inputs(model)["pixel_values"] == ["batch", 3, 16, 16]
    assert export.inputs(model)["input_ids"] == ["texts", "seq"]
    export.agrees(model, batch=3, texts=1)
    export.agrees(model, batch=1, texts=4)


@pytest.mark.parametrize(("build", "past"), [(gpt2, (0, 6)), (t5, (1, 6)), (whisper, (1, 6))])
def test_step_that_a_past_asks_for(export, build, past):
    """A dim called past, and the file takes the cache and gives it back grown."""
    model = export(build(), "torchscript", dims={"past": past})
    cached = {name for name in export.inputs(model) if name.startswith("past_key_values.")}

    assert cached == {name.replace("present", "past_key_values") for name in export.outputs(model)} - {"logits"}
    for size in past:
        export.agrees(model, past=size)


def test_dynamo(export):
    """The same by the dynamo exporter, whose output dims are named as well."""
    model = export(bert(), "dynamo")

    assert (export.inputs(model), export.outputs(model)) == (TEXT, {"logits": ["batch", 2]})
    export.agrees(model, batch=3, seq=9)


@pytest.mark.parametrize("exporter", ["torchscript", "dynamo"])
def test_cache_in_and_out(export, exporter):
    """Flat cache tensors become the model's cache, and come back as present tensors."""
    outputs = {"logits": "float32[batch, seq, 50]", "present.0.key": "float32[batch, 2, past + seq, 8]"}
    model = export(gpt2(), exporter, inputs=CACHED, outputs=outputs)

    assert export.inputs(model)["attention_mask"] == ["batch", "past + seq"]
    assert export.inputs(model)["past_key_values.0.key"] == ["batch", 2, "past", 8]
    assert export.outputs(model) == {"logits": ["batch", "seq", 50], "present.0.key": ["batch", 2, "past + seq", 8]}
    export.agrees(model, batch=1, past=3, seq=2)


@pytest.mark.parametrize("build", [gpt2, vit])
def test_library_exporter(export, build):
    """It leaves every axis open under names of its own, and adds the cache; the file is as declared all the same."""
    model = export(build(), "transformers")
    inputs = next(inputs for known, inputs, _ in CASES if known is build)

    assert (export.inputs(model), list(export.outputs(model))) == (inputs, ["logits"])
    export.agrees(model, batch=3)


def test_library_exporter_renames_and_selects(export):
    """Outputs go by the names and in the order that were declared."""
    model = export(gpt2(), "transformers", outputs=["present.0.value", "logits"])

    assert list(export.outputs(model)) == ["present.0.value", "logits"]
    export.agrees(model, batch=2, seq=5)


def test_library_exporter_with_fusions(export):
    """Fused operators belong to ONNX Runtime's own domain, which the option declares."""
    module = bert()
    training = [child.training for child in module.modules()]
    use_cache = module.config.use_cache
    model = export(module, "transformers", options={"ort_fusions": "cpu"}, outputs=["scores"])

    assert any(name.startswith("com.microsoft.") for name in model.operators)
    assert list(export.outputs(model)) == ["scores"]
    export.agrees(model, batch=3, seq=9)
    assert [child.training for child in module.modules()] == training
    assert module.config.use_cache == use_cache
    export.workshop._made.clear()
    export.workshop.provider = "cpu"  # a provider is asked for: the contract is held up to the kept file, too
    assert export(module, "transformers", options={"ort_fusions": "cpu"}, outputs=["scores"]).cached


def test_library_exporter_takes_no_flat_cache(export):
    """It would need the cache as an object; the message says who takes it flat."""
    with pytest.raises(ExporterError, match="does not take a cache as flat inputs; use exporter='dynamo'"):
        export(gpt2(), "transformers", inputs=CACHED)


def test_cache_must_be_whole(export):
    """A key without its value is told as what it is."""
    inputs = {name: spec for name, spec in CACHED.items() if not name.endswith("value")}
    with pytest.raises(SourceError, match=r"layer 0 of the cache lacks 'past_key_values\.0\.value'"):
        export(gpt2(), "torchscript", inputs=inputs)


def test_output_without_its_dim_breaks_the_contract(export):
    """A declared output dim that the file has fixed is told for Transformers models too."""
    with pytest.raises(ContractViolation, match=r"output 'logits' axis 1 \(classes\)"):
        export(vit(), "torchscript", outputs={"logits": "float32[batch, classes]"})
