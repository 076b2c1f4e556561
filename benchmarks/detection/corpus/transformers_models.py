"""Tiny Hugging Face models: branches on the length baked by tracing, rows that attend nowhere, left padding."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.detection.case import Case
from model_zoo._torch_seeding import fixed_seed
from pytest_onnxprep import TensorSpec

if TYPE_CHECKING:
    import onnx
    import torch

_VOCABULARY = 50
#: What BERT-like configurations have in common; weights large enough for attention to matter.
_SMALL: dict[str, Any] = {
    "vocab_size": _VOCABULARY,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "initializer_range": 0.2,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}


def _seeded(architecture: Any, config: Any) -> torch.nn.Module:
    with fixed_seed(5):
        return architecture(config).eval()


def _llama(**changes: Any) -> torch.nn.Module:
    from transformers import LlamaConfig, LlamaForCausalLM

    options = {**_SMALL, "num_key_value_heads": 2, "max_position_embeddings": 64, **changes}
    return _seeded(LlamaForCausalLM, LlamaConfig(**options))


def build_llama_dynamic_rope() -> torch.nn.Module:
    """Llama trained on 16 positions, its rotary base growing with any length above that."""
    rope = {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 100.0}
    return _llama(max_position_embeddings=16, rope_parameters=rope)


def build_llama_linear_rope() -> torch.nn.Module:
    """The same with linear scaling, which is the same at every length."""
    rope = {"rope_type": "linear", "factor": 2.0, "rope_theta": 100.0}
    return _llama(max_position_embeddings=16, rope_parameters=rope)


def build_llama_sdpa() -> torch.nn.Module:
    """Llama through `scaled_dot_product_attention`, which answers 0 where a token attends nowhere."""
    return _llama(attn_implementation="sdpa")


def build_llama_eager() -> torch.nn.Module:
    """Llama with attention written out: a token that attends nowhere attends everywhere alike."""
    return _llama(attn_implementation="eager")


def build_mistral_sdpa() -> torch.nn.Module:
    """Mistral with a window of 4: padding further behind than that attends nowhere."""
    from transformers import MistralConfig, MistralForCausalLM

    options = {**_SMALL, "num_key_value_heads": 2, "max_position_embeddings": 64, "sliding_window": 4}
    return _seeded(MistralForCausalLM, MistralConfig(**options, attn_implementation="sdpa"))


def build_longformer() -> torch.nn.Module:
    """Longformer, windows of 4; it pads to a multiple of the window and computes in overlapping chunks."""
    from transformers import LongformerConfig, LongformerModel

    return _seeded(LongformerModel, LongformerConfig(**_SMALL, attention_window=4, max_position_embeddings=66))


def build_roberta() -> torch.nn.Module:
    """RoBERTa, of which Longformer is a copy, with full attention."""
    from transformers import RobertaConfig, RobertaModel

    return _seeded(RobertaModel, RobertaConfig(**_SMALL, max_position_embeddings=66))


def _longt5(attention: str) -> torch.nn.Module:
    from transformers import LongT5Config, LongT5EncoderModel

    small = {"vocab_size": _VOCABULARY, "d_model": 32, "d_kv": 8, "d_ff": 64, "num_layers": 2, "num_heads": 4}
    config = LongT5Config(**small, local_radius=3, global_block_size=4, encoder_attention_type=attention)
    return _seeded(LongT5EncoderModel, config)


def build_longt5_global() -> torch.nn.Module:
    """LongT5 encoder; the number of its global tokens follows from the length."""
    return _longt5("transient-global")


def build_longt5_local() -> torch.nn.Module:
    """LongT5 encoder with local attention alone."""
    return _longt5("local")


def build_funnel() -> torch.nn.Module:
    """Funnel Transformer of two blocks; the second sees the sequence pooled by two."""
    from transformers import FunnelConfig, FunnelModel

    config = FunnelConfig(
        vocab_size=_VOCABULARY, d_model=32, n_head=4, d_head=8, d_inner=64, block_sizes=[1, 1], pad_token_id=0
    )
    return _seeded(FunnelModel, config)


def build_swin() -> torch.nn.Module:
    """Swin Transformer, windows of 4 x 4 patches; maps that do not divide are padded."""
    from transformers import SwinConfig, SwinModel

    config = SwinConfig(
        image_size=32,
        patch_size=4,
        embed_dim=8,
        depths=[2, 2],
        num_heads=[2, 2],
        window_size=4,
        initializer_range=0.2,
    )
    return _seeded(SwinModel, config)


def build_mamba() -> torch.nn.Module:
    """Mamba; its slow path loops over the sequence in Python."""
    from transformers import MambaConfig, MambaForCausalLM

    config = MambaConfig(vocab_size=_VOCABULARY, hidden_size=32, num_hidden_layers=2, state_size=4)
    return _seeded(MambaForCausalLM, config)


def build_opt() -> torch.nn.Module:
    """OPT; positions are counted over the attention mask, so that left padding does not shift them."""
    from transformers import OPTConfig, OPTForCausalLM

    config = OPTConfig(
        vocab_size=_VOCABULARY,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        ffn_dim=64,
        word_embed_proj_dim=32,
        max_position_embeddings=64,
        init_std=0.2,
        attn_implementation="eager",
    )
    return _seeded(OPTForCausalLM, config)


def positions_without_mask(model: onnx.ModelProto) -> onnx.ModelProto:
    """Positions counted over all tokens, padding included: ``range(seq)``."""
    import onnx

    count = next(node for node in model.graph.node if node.op_type == "CumSum")
    index = list(model.graph.node).index(count)
    one = onnx.numpy_helper.from_array(np.ones(1, "int64"))
    ones = [
        onnx.helper.make_node("Shape", [count.input[0]], ["mask_shape"]),
        onnx.helper.make_node("ConstantOfShape", ["mask_shape"], ["no_mask"], value=one),
    ]
    count.input[0] = "no_mask"
    for offset, node in enumerate(ones):
        model.graph.node.insert(index + offset, node)
    return model


def _ids(*shape: int) -> np.ndarray:
    return np.random.default_rng(3).integers(3, _VOCABULARY, shape)


def _padded(seq: int, left: int = 0, right: int = 0) -> dict[str, np.ndarray]:
    """Two texts, the second with padding."""
    mask = np.ones((2, seq), "int64")
    mask[1, :left] = 0
    mask[1, seq - right :] = 0
    return {"input_ids": _ids(2, seq), "attention_mask": mask}


_TOKENS = TensorSpec("int64", "batch, seq", low=0, high=_VOCABULARY)
_TEXT = {"input_ids": _TOKENS, "attention_mask": TensorSpec("int64", "batch, seq")}
_TEXT_OF_12 = {
    "input_ids": TensorSpec("int64", "batch, 12", low=0, high=_VOCABULARY),
    "attention_mask": TensorSpec("int64", "batch, 12"),
}
_SIZES = {"batch": (1, 4), "seq": (1, 32)}
_LONG = {"batch": (1, 4), "seq": (2, 48)}

CASES = [
    Case(
        name="hf_llama_dynamic_rope_baked",
        framework="transformers",
        exporter="torchscript",
        model=build_llama_dynamic_rope,
        inputs=_TEXT,
        dims=_LONG,
        link="https://github.com/huggingface/transformers/issues/35021",
        mechanism="`if seq_len > max_seq_len` of dynamic RoPE is traced at a short text: long ones keep the old base",
        witness=lambda: _padded(40),
        blame="converter",
    ),
    Case(
        name="hf_llama_dynamic_rope_baked_clean",
        framework="transformers",
        exporter="torchscript",
        model=build_llama_linear_rope,
        inputs=_TEXT,
        dims=_LONG,
        link="https://github.com/huggingface/transformers/issues/35021",
        mechanism="linear scaling has no branch; attention over long padding on both sides",
    ),
    Case(
        name="hf_llama_left_padding_sdpa",
        framework="transformers",
        exporter="dynamo",
        model=build_llama_sdpa,
        inputs=_TEXT,
        dims=_SIZES,
        link="https://github.com/pytorch/pytorch/pull/159973",
        mechanism="a padding token on the left attends nowhere: SDPA answers 0, the exported softmax the mean of all",
        witness=lambda: _padded(8, left=3),
        blame="converter",
    ),
    Case(
        name="hf_llama_left_padding_sdpa_clean",
        framework="transformers",
        exporter="dynamo",
        model=build_llama_eager,
        inputs=_TEXT,
        dims=_SIZES,
        link="https://github.com/pytorch/pytorch/pull/159973",
        mechanism="eager attention adds the lowest float, which the export does too",
    ),
    Case(
        name="hf_mistral_window_padding_sdpa",
        framework="transformers",
        exporter="dynamo",
        model=build_mistral_sdpa,
        inputs=_TEXT,
        dims=_SIZES,
        link="https://github.com/microsoft/onnxscript/pull/2479",
        mechanism="padding on the right further than the window attends nowhere: SDPA 0, export the mean",
        witness=lambda: _padded(12, right=8),
        blame="converter",
    ),
    Case(
        name="hf_mistral_window_padding_sdpa_clean",
        framework="transformers",
        exporter="transformers",
        model=build_mistral_sdpa,
        inputs=_TEXT,
        dims=_SIZES,
        link="https://github.com/microsoft/onnxscript/pull/2479",
        mechanism="Transformers' own exporter gives such tokens something to attend to, as it does in eager mode",
    ),
    Case(
        name="hf_longformer_chunks_baked",
        framework="transformers",
        exporter="torchscript",
        model=build_longformer,
        inputs=_TEXT,
        dims=_SIZES,
        link="https://github.com/huggingface/optimum/issues/776",
        mechanism="as_strided's strides and the padding to the window are constants of the traced length",
        witness=lambda: _padded(24, right=4),
        blame="converter",
    ),
    Case(
        name="hf_longformer_chunks_baked_clean",
        framework="transformers",
        exporter="torchscript",
        model=build_roberta,
        inputs=_TEXT,
        dims=_SIZES,
        link="https://github.com/huggingface/optimum/issues/776",
        mechanism="full attention",
    ),
    Case(
        name="hf_longt5_globals_baked",
        framework="transformers",
        exporter="torchscript",
        model=build_longt5_global,
        inputs=_TEXT,
        dims=_SIZES,
        link="https://github.com/huggingface/transformers/issues/20275",
        mechanism="`num_globals = seq_len // global_block_size` is a constant of the traced length",
        witness=lambda: _padded(8),
        blame="converter",
    ),
    Case(
        name="hf_longt5_globals_baked_clean",
        framework="transformers",
        exporter="torchscript",
        model=build_longt5_local,
        inputs=_TEXT,
        dims=_SIZES,
        link="https://github.com/huggingface/transformers/issues/20275",
        mechanism="local attention has no global tokens",
    ),
    Case(
        name="hf_funnel_pooling_baked",
        framework="transformers",
        exporter="torchscript",
        model=build_funnel,
        inputs=_TEXT,
        dims={"batch": (1, 4), "seq": (4, 32)},
        link="https://github.com/huggingface/optimum/pull/1231",
        mechanism="`len(pooled_pos)` in the relative positions is a constant of the traced length",
        witness=lambda: _padded(8),
        blame="converter",
    ),
    Case(
        name="hf_funnel_pooling_baked_clean",
        framework="transformers",
        exporter="torchscript",
        model=build_funnel,
        inputs=_TEXT_OF_12,
        dims={"batch": (1, 4)},
        link="https://github.com/huggingface/optimum/pull/1231",
        mechanism="the length is declared fixed",
    ),
    Case(
        name="hf_swin_window_padding_baked",
        framework="transformers",
        exporter="torchscript",
        model=build_swin,
        inputs={"pixel_values": "float32[batch, 3, h, w]"},
        dims={"batch": (1, 3), "h": (32, 64), "w": (32, 64)},
        link="https://github.com/huggingface/pytorch-image-models/issues/1844",
        mechanism="window partition and padding are traced with the sizes of one picture",
        witness=lambda: {"pixel_values": np.random.default_rng(0).normal(size=(1, 3, 32, 32)).astype("float32")},
        blame="converter",
    ),
    Case(
        name="hf_swin_window_padding_baked_clean",
        framework="transformers",
        exporter="torchscript",
        model=build_swin,
        inputs={"pixel_values": "float32[batch, 3, 32, 32]"},
        dims={"batch": (1, 3)},
        link="https://github.com/huggingface/pytorch-image-models/issues/1844",
        mechanism="pictures of one size",
    ),
    Case(
        name="hf_mamba_scan_unrolled",
        framework="transformers",
        exporter="torchscript",
        model=build_mamba,
        inputs={"input_ids": _TOKENS},
        dims=_SIZES,
        link="https://github.com/state-spaces/mamba/issues/200",
        mechanism="the loop over the sequence is unrolled at the traced length",
        witness=lambda: {"input_ids": _ids(2, 9)},
        blame="converter",
    ),
    Case(
        name="hf_mamba_scan_unrolled_clean",
        framework="transformers",
        exporter="torchscript",
        model=build_mamba,
        inputs={"input_ids": TensorSpec("int64", "batch, 12", low=0, high=_VOCABULARY)},
        dims={"batch": (1, 4)},
        link="https://github.com/state-spaces/mamba/issues/200",
        mechanism="the length is declared fixed",
    ),
    Case(
        name="hf_opt_positions_ignore_mask",
        framework="transformers",
        exporter="torchscript",
        model=build_opt,
        inputs=_TEXT,
        dims=_SIZES,
        link="https://github.com/huggingface/optimum/pull/1381",
        mechanism="positions do not follow the mask: texts padded on the left read shifted embeddings (fixed since)",
        witness=lambda: _padded(8, left=3),
        blame="converter",
        edit=positions_without_mask,
    ),
    Case(
        name="hf_opt_positions_ignore_mask_clean",
        framework="transformers",
        exporter="torchscript",
        model=build_opt,
        inputs=_TEXT,
        dims=_SIZES,
        link="https://github.com/huggingface/optimum/pull/1381",
        mechanism="today's export of the same model",
    ),
]
