"""Hugging Face Transformers models: the library's own code, small configurations, weights drawn from fixed seeds.

`initializer_range` is far above the library's 0.02: with it, attention stays almost uniform and logits almost zero, and
a parity check at 1e-4 would prove nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

VOCABULARY = 1000


def build_bert_classifier() -> torch.nn.Module:
    """Build a BERT sequence classifier (Devlin et al. 2018, arXiv:1810.04805): 2 layers, width 128, 4 heads.

    `input_ids int64[batch, seq]`, ids 0..999, and `attention_mask int64[batch, seq]` to `logits float32[batch, 3]`; seq
    up to 128.

    Returns:
        `BertForSequenceClassification` in eval mode, 558 339 parameters.
    """
    from transformers import BertConfig, BertForSequenceClassification

    from model_zoo._torch_seeding import fixed_seed, trained_like

    config = BertConfig(
        vocab_size=VOCABULARY,
        hidden_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=512,
        max_position_embeddings=128,
        num_labels=3,
        initializer_range=0.1,
    )
    with fixed_seed(1810):
        return trained_like(BertForSequenceClassification(config))


def build_distilbert_classifier() -> torch.nn.Module:
    """Build a DistilBERT sequence classifier (Sanh et al. 2019, arXiv:1910.01108): 3 layers, width 96, 4 heads.

    `input_ids int64[batch, seq]`, ids 0..999, and `attention_mask int64[batch, seq]` to `logits float32[batch, 2]`; seq
    up to 128.

    Returns:
        `DistilBertForSequenceClassification` in eval mode, 453 506 parameters.
    """
    from transformers import DistilBertConfig, DistilBertForSequenceClassification

    from model_zoo._torch_seeding import fixed_seed, trained_like

    config = DistilBertConfig(
        vocab_size=VOCABULARY,
        dim=96,
        n_layers=3,
        n_heads=4,
        hidden_dim=384,
        max_position_embeddings=128,
        num_labels=2,
        initializer_range=0.1,
    )
    with fixed_seed(1910):
        return trained_like(DistilBertForSequenceClassification(config))


def build_gpt2() -> torch.nn.Module:
    """Build a GPT-2 language model (Radford et al. 2019): 2 layers, width 64, 2 heads of 32, context of 128.

    `input_ids int64[batch, seq]`, ids 0..999, `attention_mask int64[batch, past + seq]` and, to go on from a cache,
    `past_key_values.N.key` and `.value float32[batch, 2, past, 32]` to `logits float32[batch, seq, 1000]` and the grown
    cache `present.N.key` and `.value float32[batch, 2, past + seq, 32]`.

    Returns:
        The plain `GPT2LMHeadModel` in eval mode, 172 288 parameters (the head shares the embedding).
    """
    from transformers import GPT2Config, GPT2LMHeadModel

    from model_zoo._torch_seeding import fixed_seed, trained_like

    config = GPT2Config(
        vocab_size=VOCABULARY,
        n_positions=128,
        n_embd=64,
        n_layer=2,
        n_head=2,
        initializer_range=0.1,
        bos_token_id=0,
        eos_token_id=0,
    )
    with fixed_seed(2019):
        return trained_like(GPT2LMHeadModel(config))
