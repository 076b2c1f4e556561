"""Hugging Face Transformers models: the library's own code, small configurations, weights drawn from fixed seeds.

`initializer_range` is far above the library's 0.02: with it, attention stays almost uniform and logits almost zero, and
a parity check at 1e-4 would prove nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

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


def build_roberta_tagger() -> torch.nn.Module:
    """Build a RoBERTa tagger (Liu et al. 2019, arXiv:1907.11692): 2 layers, width 64, 4 heads, 9 tags.

    `input_ids int64[batch, seq]`, ids 0..999, and `attention_mask int64[batch, seq]` to
    `logits float32[batch, seq, 9]`; seq up to 64, counted from behind the padding id 1 wherever that stands.

    Returns:
        `RobertaForTokenClassification` in eval mode, 168 969 parameters.
    """
    from transformers import RobertaConfig, RobertaForTokenClassification

    from model_zoo._torch_seeding import fixed_seed, trained_like

    config = RobertaConfig(
        vocab_size=VOCABULARY,
        hidden_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=256,
        max_position_embeddings=66,
        type_vocab_size=1,
        num_labels=9,
        initializer_range=0.1,
    )
    with fixed_seed(1907):
        return trained_like(RobertaForTokenClassification(config))


def build_bert_qa() -> torch.nn.Module:
    """Build a BERT that answers questions about a text (Devlin et al. 2018, arXiv:1810.04805): 2 layers, width 64.

    `input_ids int64[batch, seq]`, ids 0..999, `attention_mask int64[batch, seq]` and `token_type_ids int64[batch, seq]`
    (0 in the question, 1 in the text) to `start_logits` and `end_logits float32[batch, seq]`; seq up to 64.

    Returns:
        `BertForQuestionAnswering` in eval mode, 168 450 parameters.
    """
    from transformers import BertConfig, BertForQuestionAnswering

    from model_zoo._torch_seeding import fixed_seed, trained_like

    config = BertConfig(
        vocab_size=VOCABULARY,
        hidden_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=256,
        max_position_embeddings=64,
        initializer_range=0.1,
    )
    with fixed_seed(181):
        return trained_like(BertForQuestionAnswering(config))


def build_t5() -> torch.nn.Module:
    """Build a T5 (Raffel et al. 2019, arXiv:1910.10683): 2 layers in the encoder and the decoder, width 48, 4 heads.

    `input_ids int64[batch, seq]`, ids 0..499, `attention_mask int64[batch, seq]` and `decoder_input_ids
    int64[batch, target]` to `logits float32[batch, target, 500]` and `encoder_last_hidden_state
    float32[batch, seq, 48]`. With a cache: one step of the decoder, `past_key_values.N.decoder.*` and `.encoder.*` in.

    Returns:
        `T5ForConditionalGeneration` in eval mode, 153 856 parameters.
    """
    from transformers import T5Config, T5ForConditionalGeneration

    from model_zoo._torch_seeding import fixed_seed, trained_like

    config = T5Config(
        vocab_size=500,
        d_model=48,
        d_kv=12,
        d_ff=128,
        num_layers=2,
        num_heads=4,
        feed_forward_proj="gated-gelu",
        decoder_start_token_id=0,
    )
    with fixed_seed(1910):
        return trained_like(T5ForConditionalGeneration(config))


def build_whisper() -> torch.nn.Module:
    """Build a Whisper (Radford et al. 2022, arXiv:2212.04356): 2 layers in the encoder and the decoder, width 48.

    `input_features float32[batch, 20, 80]`, log-mel energies of 80 frames, and `decoder_input_ids
    int64[batch, target]`, ids 0..299, target up to 24, to `logits float32[batch, target, 300]` and
    `encoder_last_hidden_state float32[batch, 40, 48]`.

    Returns:
        `WhisperForConditionalGeneration` in eval mode, 122 112 parameters.
    """
    from transformers import WhisperConfig, WhisperForConditionalGeneration

    from model_zoo._torch_seeding import fixed_seed, trained_like

    config = WhisperConfig(
        vocab_size=300,
        num_mel_bins=20,
        d_model=48,
        encoder_layers=2,
        decoder_layers=2,
        encoder_attention_heads=4,
        decoder_attention_heads=4,
        encoder_ffn_dim=96,
        decoder_ffn_dim=96,
        max_source_positions=40,
        max_target_positions=24,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
        decoder_start_token_id=1,
        init_std=0.1,
    )
    with fixed_seed(2212):
        return trained_like(WhisperForConditionalGeneration(config))


def build_vit_classifier() -> torch.nn.Module:
    """Build the library's ViT (Dosovitskiy et al. 2020, arXiv:2010.11929): 2 layers, width 64, 16 patches.

    `pixel_values float32[batch, 3, 32, 32]` to `logits float32[batch, 10]`.

    Returns:
        `ViTForImageClassification` in eval mode, 81 226 parameters.
    """
    from transformers import ViTConfig, ViTForImageClassification

    from model_zoo._torch_seeding import fixed_seed, trained_like

    config = ViTConfig(
        hidden_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=128,
        image_size=32,
        patch_size=8,
        num_labels=10,
        initializer_range=0.1,
    )
    with fixed_seed(201):
        return trained_like(ViTForImageClassification(config))


def build_segformer() -> torch.nn.Module:
    """Build a SegFormer (Xie et al. 2021, arXiv:2105.15203): 4 stages of one layer, widths 16 to 48.

    `pixel_values float32[batch, 3, height, width]`, both multiples of 32, to `logits float32[batch, 6, height // 4,
    width // 4]`.

    Returns:
        `SegformerForSemanticSegmentation` in eval mode, 102 382 parameters.
    """
    from transformers import SegformerConfig, SegformerForSemanticSegmentation

    from model_zoo._torch_seeding import fixed_seed, trained_like

    config = SegformerConfig(
        depths=[1, 1, 1, 1],
        hidden_sizes=[16, 24, 32, 48],
        num_attention_heads=[1, 2, 2, 4],
        mlp_ratios=[2, 2, 2, 2],
        decoder_hidden_size=32,
        num_labels=6,
        initializer_range=0.1,
    )
    with fixed_seed(2105):
        return trained_like(SegformerForSemanticSegmentation(config))


def build_clip() -> torch.nn.Module:
    """Build a CLIP (Radford et al. 2021, arXiv:2103.00020): 2 layers of width 48 on both sides.

    `input_ids int64[texts, seq]`, ids 0..399, seq up to 20, `attention_mask int64[texts, seq]` and `pixel_values
    float32[batch, 3, 32, 32]` to `logits_per_image float32[batch, texts]`, its transpose `logits_per_text`, and the
    unit vectors `text_embeds float32[texts, 32]` and `image_embeds float32[batch, 32]`.

    Returns:
        `CLIPModel` in eval mode, 109 441 parameters.
    """
    from transformers import CLIPConfig, CLIPModel

    from model_zoo._torch_seeding import fixed_seed, trained_like

    tower = {"hidden_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 96}
    config = CLIPConfig(
        text_config={
            **tower,
            "vocab_size": 400,
            "max_position_embeddings": 20,
            "bos_token_id": 398,
            "eos_token_id": 399,
            "pad_token_id": 0,
        },
        vision_config={**tower, "image_size": 32, "patch_size": 8},
        projection_dim=32,
        initializer_factor=3.0,
    )
    with fixed_seed(2103):
        return trained_like(CLIPModel(config))


def build_llama() -> torch.nn.Module:
    """Build a Llama (Touvron et al. 2023, arXiv:2302.13971): 2 layers, width 64, 4 heads that share 2 keys and values.

    As `build_gpt2`, with `position_ids int64[batch, seq]` beside a cache and `past_key_values.N.key` and `.value
    float32[batch, 2, past, 16]`: rotary positions, RMS norm, gated SiLU.

    Returns:
        `LlamaForCausalLM` in eval mode, 125 248 parameters.
    """
    from transformers import LlamaConfig, LlamaForCausalLM

    from model_zoo._torch_seeding import fixed_seed, trained_like

    config = LlamaConfig(
        vocab_size=400,
        hidden_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        intermediate_size=128,
        max_position_embeddings=96,
        initializer_range=0.15,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
    )
    with fixed_seed(2302):
        return trained_like(LlamaForCausalLM(config))


def build_qwen2() -> Any:
    """Build a Qwen2 (Yang et al. 2024, arXiv:2407.10671) of nothing but its config: 2 layers, width 48, 4 heads.

    The plugin makes the model, with weights of its own seed: at the library's spread of 0.02 unless the config says
    otherwise. Inputs and outputs as `build_llama`'s.

    Returns:
        A `Qwen2Config` that names `Qwen2ForCausalLM`.
    """
    from transformers import Qwen2Config

    return Qwen2Config(
        architectures=["Qwen2ForCausalLM"],
        vocab_size=300,
        hidden_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=1,
        intermediate_size=96,
        max_position_embeddings=64,
        initializer_range=0.15,
        tie_word_embeddings=True,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
    )
