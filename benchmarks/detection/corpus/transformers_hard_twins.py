"""Sound exports of tiny Hugging Face models at which it is hard to stay quiet: greedy choice and long padding."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.detection.case import Case
from model_zoo._torch_seeding import fixed_seed
from pytest_onnxprep import TensorSpec

if TYPE_CHECKING:
    import torch


def build_greedy_gpt2() -> torch.nn.Module:
    """A tiny GPT-2 with the next token it would choose at every position."""
    import torch
    from transformers import GPT2Config, GPT2LMHeadModel

    class Greedy(torch.nn.Module):
        def __init__(self, language_model: GPT2LMHeadModel) -> None:
            super().__init__()
            self.language_model = language_model

        def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> dict[str, torch.Tensor]:
            logits = self.language_model(input_ids, attention_mask=attention_mask, use_cache=False).logits
            return {"logits": logits, "next_token": logits.argmax(dim=-1)}

    config = GPT2Config(vocab_size=50, n_positions=64, n_embd=32, n_layer=2, n_head=2, initializer_range=0.2)
    with fixed_seed(6):
        return Greedy(GPT2LMHeadModel(config)).eval()


def build_padded_bert() -> torch.nn.Module:
    """BERT over texts of which most may be padding."""
    from transformers import BertConfig, BertModel

    config = BertConfig(
        vocab_size=50,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=64,
        max_position_embeddings=128,
        initializer_range=0.2,
        attn_implementation="sdpa",
    )
    with fixed_seed(7):
        return BertModel(config).eval()


_TEXT = {
    "input_ids": TensorSpec("int64", "batch, seq", low=0, high=50),
    "attention_mask": TensorSpec("int64", "batch, seq"),
}

CASES = [
    Case(
        name="hf_gpt2_greedy_clean",
        framework="torch",
        exporter="torchscript",
        model=build_greedy_gpt2,
        inputs=_TEXT,
        dims={"batch": (1, 4), "seq": (1, 48)},
        link="https://github.com/huggingface/transformers/pull/36332",
        mechanism="the choice of a token jumps where two logits are nearly equal",
    ),
    Case(
        name="hf_bert_long_padding_clean",
        framework="transformers",
        exporter="dynamo",
        model=build_padded_bert,
        inputs=_TEXT,
        dims={"batch": (1, 4), "seq": (1, 96)},
        link="https://github.com/pytorch/pytorch/pull/159973",
        mechanism="one token and 95 of padding still attend to something",
    ),
]
