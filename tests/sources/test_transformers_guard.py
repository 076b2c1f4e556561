"""Transformers folders made elsewhere: code of their own, weights elsewhere, sizes without measure."""

from __future__ import annotations

import io
import json
import os
import shutil
import sys
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from pytest_onnxprep.errors import SourceError  # noqa: E402
from pytest_onnxprep.sources import transformers_guard, trial  # noqa: E402
from pytest_onnxprep.sources.load import load_source  # noqa: E402

SMALL = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}


@pytest.fixture
def folder(tmp_path):
    """A small model with its weights."""
    config = transformers.BertConfig(**SMALL, vocab_size=50)
    transformers.BertModel(config).save_pretrained(tmp_path / "model")
    return tmp_path / "model"


def changed(folder, **changes):
    """The folder, with some keys of its config changed; the path of the config."""
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    return path


class Bomb:
    """Pickled, it would make a file when it is read."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        """The call that a careless reader makes."""
        return (Path.touch, (Path(self.path),))


def test_code_of_its_own(folder, monkeypatch):
    """Transformers would ask at the terminal, and somebody might say yes."""
    proof = folder / "proof"
    (folder / "evil.py").write_text(f"open({str(proof)!r}, 'w')\n")
    changed(folder, model_type="evil", auto_map={"AutoConfig": "evil.C", "AutoModel": "evil.M"})
    monkeypatch.setattr(sys, "stdin", io.StringIO("y\n" * 9))

    with pytest.raises(SourceError, match=r"brings Python code of its own .auto_map.*, which was not run"):
        load_source(folder)
    assert not proof.exists()
    assert sys.stdin.read() == "y\n" * 9


def test_weights_outside_by_index(folder):
    """An index may name the files of its folder only."""
    (folder / "model.safetensors").rename(folder.parent / "secret.safetensors")
    index = {"weight_map": {"embeddings.word_embeddings.weight": "../secret.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))

    with pytest.raises(SourceError, match=r"its weights '.*\.\./secret\.safetensors' lie outside of it"):
        load_source(folder)


def test_weights_outside_by_link(folder):
    """Nor may a link lead elsewhere."""
    (folder / "model.safetensors").rename(folder.parent / "secret.safetensors")
    (folder / "model.safetensors").symlink_to(folder.parent / "secret.safetensors")

    with pytest.raises(SourceError, match=r"its weights '.*model\.safetensors' lie outside of it"):
        load_source(folder)


def test_links_of_the_hubs_cache(folder, tmp_path):
    """A snapshot is made of links into the blobs of its repository."""
    repository = tmp_path / "models--some--model"
    snapshot = repository / "snapshots" / "abc"
    (repository / "blobs").mkdir(parents=True)
    snapshot.mkdir(parents=True)
    for file in folder.iterdir():
        shutil.copy(file, repository / "blobs" / f"{file.name}-blob")
        (snapshot / file.name).symlink_to(os.path.join("..", "..", "blobs", f"{file.name}-blob"))

    assert load_source(snapshot).label == "BertModel (Transformers)"


def test_adapters_of_other_models(folder):
    """They name the folder of another one."""
    (folder / "adapter_config.json").write_text("{}")
    with pytest.raises(SourceError, match="makes it an adapter to another model"):
        load_source(folder)


def test_pickled_weights(folder):
    """What they would call is named; how to read them all the same is not."""
    proof = folder / "proof"
    (folder / "model.safetensors").unlink()
    torch.save({"w": torch.ones(1), "bomb": Bomb(proof)}, folder / "pytorch_model.bin")

    with pytest.raises(
        SourceError, match=r"its weights .pytorch_model\.bin. are a pickle .*reading it runs code"
    ) as caught:
        load_source(folder)
    assert "Save them as safetensors" in str(caught.value)
    assert "weights_only" not in str(caught.value)
    assert "\x1b" not in str(caught.value)
    assert not proof.exists()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"num_hidden_layers": 10**9}, "num_hidden_layers is 1000000000, and no model has as many"),
        ({"hidden_size": 10**9}, r"describes a model of \S+ million parameters"),
        ({"vocab_size": 3 * 10**8}, r"describes a model of \S+ million parameters"),
        ({"architectures": [5]}, r"names no architecture this Transformers version has \(\[5\]\)"),
        ({"architectures": ["pipeline"]}, "names no architecture this Transformers version has"),
        (
            {"hidden_size": 0, "num_attention_heads": 0},
            "as a transformers model: ZeroDivisionError: integer modulo by",
        ),
        ({"hidden_size": "8"}, "Validation error for field 'hidden_size': TypeError: Field 'hidden_size' expected int"),
    ],
)
def test_configs_that_describe_no_model(folder, changes, said):
    """With weights and without; nothing of that size is made."""
    path = changed(folder, **changes)

    with pytest.raises(SourceError, match=said):
        load_source(path)
    with pytest.raises(SourceError, match=said):
        load_source(folder)


def test_sizes_beyond_the_weights(folder):
    """A folder's model is as large as its weights."""
    with pytest.raises(SourceError, match=r"million parameters .*, and its weights have 0\.0\d+ MB"):
        load_source(changed(folder, vocab_size=2_000_000).parent)


def test_sizes_that_do_not_fit(folder):
    """Transformers refers to a report that nobody sees."""
    changed(folder, vocab_size=60)
    with pytest.raises(SourceError, match=r"its weights have other sizes than its config\.json describes"):
        load_source(folder)


def test_building_without_end(folder, monkeypatch):
    """What is not bounded by name is bounded by time."""
    monkeypatch.setattr(transformers_guard, "_MOST_LAYERS", 10**12)
    monkeypatch.setattr(trial, "SECONDS", 2.0)
    with pytest.raises(SourceError, match="building the model that it describes, it did not come to an end within 2 s"):
        load_source(changed(folder, num_hidden_layers=10**9))


def test_packages_that_are_missing(folder):
    """Transformers' sentence is no name of a package."""
    changed(folder, quantization_config={"quant_method": "bitsandbytes", "load_in_4bit": True})
    with pytest.raises(SourceError, match="needs a package that is not installed here: Using `bitsandbytes`"):
        load_source(folder)


@pytest.mark.parametrize("text", ["[1]", "null", "[" * 100_000, "{"], ids=["list", "null", "deep", "cut"])
def test_configs_that_are_none(folder, text):
    """Told before Transformers sees them."""
    (folder / "config.json").write_text(text)
    with pytest.raises(SourceError, match=r"config\.json' is damaged: .*; save the model again"):
        load_source(folder)


def test_a_config_that_is_no_file(folder):
    """A folder of that name."""
    (folder / "config.json").unlink()
    (folder / "config.json").mkdir()
    with pytest.raises(SourceError, match=r"config\.json' is no file"):
        load_source(folder)
