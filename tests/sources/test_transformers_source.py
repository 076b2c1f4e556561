"""The Transformers source: what the config tells about inputs, caches in and out, folders."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import numpy as np
import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from pytest_onnxprep.errors import SourceError  # noqa: E402
from pytest_onnxprep.sources.load import load_source  # noqa: E402
from pytest_onnxprep.spec.signature import Signature  # noqa: E402
from pytest_onnxprep.spec.tensor import TensorSpec  # noqa: E402

SMALL = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}


def bert(positions=32):
    """A tiny encoder."""
    config = transformers.BertConfig(**SMALL, vocab_size=50, max_position_embeddings=positions)
    return transformers.BertModel(config).eval()


def gpt2():
    """A tiny decoder."""
    config = transformers.GPT2Config(
        vocab_size=50, n_embd=16, n_layer=2, n_head=2, n_positions=32, bos_token_id=0, eos_token_id=1
    )
    return transformers.GPT2LMHeadModel(config).eval()


def vit(size):
    """A tiny picture model."""
    config = transformers.ViTConfig(**SMALL, image_size=size, patch_size=8)
    return transformers.ViTModel(config).eval()


IDS = TensorSpec("int64", "batch, seq", low=0, high=50)
FEEDS = {"input_ids": np.array([[1, 2, 3]]), "attention_mask": np.ones((1, 3), np.int64)}


@pytest.mark.parametrize(("positions", "longest"), [(32, 32), (512, 64)])
def test_text_signature(positions, longest):
    """Tokens within the vocabulary, a padding mask, and no more positions than the model has."""
    signature = load_source(bert(positions)).derived_signature()

    assert signature.inputs["input_ids"] == IDS
    assert signature.inputs["attention_mask"] == TensorSpec("int64", "batch, seq", values="mask")
    assert (signature.dims["seq"].min, signature.dims["seq"].max) == (1, longest)


def test_encoder_decoder_signature():
    """The decoder's tokens are inputs of their own."""
    config = transformers.T5Config(
        vocab_size=50, d_model=16, d_kv=8, d_ff=32, num_layers=1, num_heads=2, decoder_start_token_id=0
    )
    signature = load_source(transformers.T5ForConditionalGeneration(config).eval()).derived_signature()

    assert str(signature.inputs["decoder_input_ids"]) == "int64[batch, target]"
    assert set(signature.dims) == {"batch", "seq", "target"}


def test_picture_signature():
    """Channels and size come from the config."""
    signature = load_source(vit(16)).derived_signature()

    assert {name: str(spec) for name, spec in signature.inputs.items()} == {"pixel_values": "float32[batch, 3, 16, 16]"}


def test_cache_only_when_spoken_of():
    """Nobody declared a cache: none comes out, and none is made."""
    source = load_source(gpt2())
    signature = source.derived_signature()
    wanted = Signature(signature.inputs, dict.fromkeys(["logits", "present.1.key"]), signature.dims)

    assert list(source.run(FEEDS, signature)) == ["logits"]
    assert source.run(FEEDS, wanted)["present.1.key"].shape == (1, 2, 3, 8)


def test_cache_continues_the_text():
    """The cache of the first tokens gives the logits of the whole."""
    source = load_source(gpt2())
    signature = source.derived_signature()
    flat = {
        f"past_key_values.{layer}.{kind}": f"present.{layer}.{kind}" for layer in (0, 1) for kind in ("key", "value")
    }
    with_cache = Signature(signature.inputs, dict.fromkeys(["logits", *flat.values()]), signature.dims)
    head = {name: array[:, :2] for name, array in FEEDS.items()}
    first = source.run(head, with_cache)
    specs = {
        "input_ids": IDS,
        "attention_mask": TensorSpec("int64", "batch, past + seq"),
        **dict.fromkeys(flat, TensorSpec("float32", "batch, 2, past, 8")),
    }
    tail = {"input_ids": FEEDS["input_ids"][:, 2:], "attention_mask": FEEDS["attention_mask"]}
    tail |= {past: first[present] for past, present in flat.items()}
    second = source.run(tail, Signature(specs, {"logits": None}))
    whole = source.run(FEEDS, signature)

    np.testing.assert_allclose(second["logits"][:, 0], whole["logits"][:, 2], atol=1e-6)


def test_cache_must_be_whole():
    """A value without its key."""
    specs = {"input_ids": IDS, "past_key_values.0.value": TensorSpec("float32", "batch, 2, past, 8")}
    feeds = {"input_ids": FEEDS["input_ids"], "past_key_values.0.value": np.ones((1, 2, 2, 8), np.float32)}

    with pytest.raises(SourceError, match=r"layer 0 of the cache lacks 'past_key_values\.0\.key'; give key and value"):
        load_source(gpt2()).run(feeds, Signature(specs))


@pytest.fixture
def folder(tmp_path):
    """What save_pretrained writes."""
    bert().save_pretrained(tmp_path / "bert")
    return tmp_path / "bert"


def edit(folder, **changes):
    """Change the config of a folder."""
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def test_folder(folder):
    """It loads offline, in eval mode, and twice the same."""
    source = load_source(str(folder))

    assert source.label == "BertModel (Transformers)"
    assert not source.model.training
    assert source.fingerprint() == load_source(str(folder)).fingerprint()
    assert source.fingerprint().stable


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"architectures": ["Nope"]}, "names no architecture this Transformers version has (['Nope'])"),
        ({"architectures": None}, "set architectures=['BertForSequenceClassification'] or the like in the config"),
        ({"model_type": "nope"}, "cannot be read as a transformers model"),
    ],
)
def test_folder_of_something_else(folder, changes, words):
    """What is wrong with the config is told with the folder."""
    edit(folder, **changes)

    with pytest.raises(SourceError) as caught:
        load_source(str(folder))
    assert words in str(caught.value)
    assert str(folder) in str(caught.value)


def test_folder_without_weights(folder):
    """Random weights are never taken for the user's own: the message says how to ask for them."""
    (folder / "model.safetensors").unlink()

    with pytest.raises(SourceError, match=r"holds no weights .* give '.*config\.json' for a model of this config"):
        load_source(str(folder))


def test_config_object_and_file(folder):
    """A config stands for a model of it with the same random weights every time."""
    config = transformers.BertConfig(**SMALL, vocab_size=50, architectures=["BertForMaskedLM"])
    first, second = load_source(config), load_source(lambda: config)

    assert first.label == "BertForMaskedLM (Transformers)"
    assert not first.model.training
    assert first.fingerprint() == second.fingerprint()
    assert load_source(str(folder / "config.json")).label == "BertModel (Transformers)"


def test_fingerprint_in_another_process(tmp_path):
    """Transformers marks a generation config with Python's hash of its text, another one in every process."""
    script = tmp_path / "digest_of.py"
    script.write_text(
        "import transformers\n"
        "from pytest_onnxprep.sources.load import load_source\n"
        "config = transformers.GPT2Config(n_embd=8, n_layer=1, n_head=2, vocab_size=9, n_positions=8)\n"
        "config.architectures = ['GPT2LMHeadModel']\n"
        "found = load_source(config).fingerprint()\n"
        "print(found.stable, found.hexdigest)\n"
    )

    def told(seed):
        environment = {**os.environ, "PYTHONHASHSEED": seed}
        done = subprocess.run([sys.executable, script], env=environment, capture_output=True, text=True, check=True)
        return done.stdout.splitlines()[-1]

    assert told("1") == told("2")
    assert told("1").startswith("True ")


def test_config_leaves_the_random_state_alone():
    """Making weights draws nothing from the caller's generator."""
    config = transformers.BertConfig(**SMALL, vocab_size=50, architectures=["BertModel"])
    before = torch.get_rng_state()
    load_source(config)

    assert torch.equal(torch.get_rng_state(), before)


def test_config_without_architecture():
    """Which head the user wants cannot be guessed."""
    with pytest.raises(SourceError, match="'BertConfig' names no architecture"):
        load_source(transformers.BertConfig(**SMALL, vocab_size=50))


def test_damaged_folder(folder):
    """A config that is no JSON, or weights that are none."""
    (folder / "model.safetensors").write_bytes(b"junk")
    with pytest.raises(SourceError, match="cannot be read as a transformers model"):
        load_source(str(folder))
    (folder / "config.json").write_text("{")
    with pytest.raises(SourceError, match=r"config\.json' is damaged: Expecting property name"):
        load_source(str(folder))


def test_weight_changes_the_fingerprint():
    """As for any torch model."""
    model = bert()
    before = load_source(model).fingerprint()
    model.pooler.dense.weight.data += 1

    assert load_source(model).fingerprint() != before


def test_config_changes_the_fingerprint():
    """The activation is in the config alone."""
    first, second = bert(), bert()
    second.load_state_dict(first.state_dict())
    assert load_source(first).fingerprint() == load_source(second).fingerprint()
    second.config.layer_norm_eps = 0.1

    assert load_source(first).fingerprint() != load_source(second).fingerprint()
