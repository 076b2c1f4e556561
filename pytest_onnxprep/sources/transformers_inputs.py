"""What a Transformers model takes, read from its config and the parameters of its ``forward``.

One function per kind of input. A task is told from what ``forward`` accepts, not from a list of class names: a model
that this file has never heard of is derived all the same where it follows the library's conventions.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from pytest_onnxprep.errors import SourceError
from pytest_onnxprep.sources.transformers_cache import cache_specs
from pytest_onnxprep.spec.dims import Dim
from pytest_onnxprep.spec.signature import Signature
from pytest_onnxprep.spec.tensor import TensorSpec

#: Longest sequence drawn by default; a model's own limit is used where it is smaller.
LONGEST = 64
#: Normalised pictures and waveforms: a mean of 0 and a deviation of 1 end about here.
_NORMALISED = {"low": -3, "high": 3}
#: Whisper's log-mel features, clamped to 8 below their maximum and divided by 4.
_LOG_MEL = {"low": -2, "high": 2}
#: Pictures without a size of their own: two sizes and more of what five halvings leave a pixel of.
_FREE_PICTURE = (64, 128)

Inputs = dict[str, TensorSpec]
Dims = dict[str, Dim]


def derive(model: Any, label: str, asked: Mapping[str, Dim]) -> Signature:
    """The inputs of a model and the ranges of their dims.

    Args:
        model: a ``PreTrainedModel``.
        label: what to call it in messages.
        asked: the dims the user gave a range: ``past`` among them asks for a step that goes on from a cache.

    Raises:
        SourceError: the model takes something this file has no rule for, or has no cache to go on from.
    """
    accepted = set(inspect.signature(model.forward).parameters)
    main = model.main_input_name
    if main == "input_ids":
        inputs, dims = _text(model, accepted)
        if "return_loss" in accepted and "pixel_values" in accepted:
            inputs, dims = _pair(model, accepted)
    elif main == "pixel_values":
        inputs, dims = _picture(model.config)
    elif main in ("input_features", "input_values"):
        inputs, dims = _sound(model.config, main, label)
    else:
        raise SourceError(
            f"{label}: inputs are derived for text (input_ids), pictures (pixel_values) and sound (input_features, "
            f"input_values), not for {main!r}; write inputs={{name: 'dtype[dims]'}} in @onnx_export"
        )
    if "decoder_input_ids" in accepted and model.config.is_encoder_decoder:
        more, more_dims = _decoder(model)
        inputs, dims = inputs | more, dims | more_dims
    plain = Signature(inputs, dims=dims)
    if "past" not in asked:
        return plain
    if "past_key_values" not in accepted:
        raise SourceError(f"{label} does not go on from a cache (past_key_values): leave 'past' out of dims=")
    return _going_on(model, label, plain, accepted, asked)


def _text(model: Any, accepted: set[str]) -> tuple[Inputs, Dims]:
    """Tokens of the vocabulary and a padding mask; token types where two texts are told apart."""
    config = model.config.get_text_config()
    head = type(model).__name__
    shape = "batch, choices, seq" if head.endswith("ForMultipleChoice") else "batch, seq"
    inputs = {"input_ids": TensorSpec("int64", shape, low=0, high=config.vocab_size)}
    if "attention_mask" in accepted:
        # Those who generate are padded on the left, so that every row goes on from its last token.
        causal = model.can_generate() and not model.config.is_encoder_decoder
        inputs["attention_mask"] = TensorSpec("int64", shape, values="padding" if causal else "mask")
    segments = getattr(config, "type_vocab_size", 0) or 0
    if "token_type_ids" in accepted and segments > 1 and head.endswith("ForQuestionAnswering"):
        inputs["token_type_ids"] = TensorSpec("int64", shape, low=0, high=segments)
    dims = {"seq": Dim(1, min(_positions(model, config), LONGEST))}
    return inputs, dims | ({"choices": Dim(2, 4)} if "choices" in shape else {})


def _positions(model: Any, config: Any) -> int:
    """How many tokens the model has positions for."""
    limit = int(getattr(config, "max_position_embeddings", 0) or LONGEST)
    for name, module in model.named_modules():
        if name.endswith("position_embeddings") and getattr(module, "padding_idx", None) is not None:
            # RoBERTa and its kin number the tokens from behind the padding index.
            limit = min(limit, module.num_embeddings - module.padding_idx - 1)
    return limit


def _pair(model: Any, accepted: set[str]) -> tuple[Inputs, Dims]:
    """Texts and pictures that are all compared with one another: their numbers are free of each other."""
    inputs, dims = _text(model, accepted)
    texts = {
        name: TensorSpec(spec.dtype, "texts, seq", low=spec.low, high=spec.high, values=spec.values)
        for name, spec in inputs.items()
    }
    pictures, picture_dims = _picture(model.config)
    return texts | pictures, dims | picture_dims


def _picture(config: Any) -> tuple[Inputs, Dims]:
    """Normalised pictures, of the config's size where it has one."""
    config = getattr(config, "vision_config", None) or getattr(config, "encoder", None) or config
    channels = getattr(config, "num_channels", 3)
    size = getattr(config, "image_size", None)
    if size is None:
        stride = _stride(config)
        free = Dim(max(_FREE_PICTURE[0], stride), max(_FREE_PICTURE[1], 2 * stride), multiple_of=stride)
        return (
            {"pixel_values": TensorSpec("float32", ("batch", channels, "height", "width"), **_NORMALISED)},
            {"height": free, "width": free},
        )
    height, width = size if isinstance(size, list | tuple) else (size, size)
    return {"pixel_values": TensorSpec("float32", ("batch", channels, height, width), **_NORMALISED)}, {}


def _stride(config: Any) -> int:
    """By how much a model without a picture size makes pictures smaller: the product of its strides, else 32."""
    strides = getattr(config, "strides", None)
    total = 1
    for stride in strides if isinstance(strides, list | tuple) else [32]:
        total *= int(stride)
    return total


def _sound(config: Any, main: str, label: str) -> tuple[Inputs, Dims]:
    """Features of the length the encoder has positions for, or a waveform of any length its convolutions can take."""
    bins = getattr(config, "num_mel_bins", None)
    if main == "input_features" and bins and getattr(config, "max_source_positions", None):
        frames = 2 * config.max_source_positions  # the second convolution halves them
        return {main: TensorSpec("float32", ("batch", bins, frames), **_LOG_MEL)}, {}
    if main == "input_values" and bins and getattr(config, "max_length", None):
        return {main: TensorSpec("float32", ("batch", config.max_length, bins), **_NORMALISED)}, {}
    kernels, strides = getattr(config, "conv_kernel", None), getattr(config, "conv_stride", None)
    if main == "input_values" and kernels and strides:
        samples = Dim(_receptive(kernels, strides, frames=2), _receptive(kernels, strides, frames=16))
        return {main: TensorSpec("float32", "batch, samples", **_NORMALISED)}, {"samples": samples}
    raise SourceError(
        f"{label}: its config says neither how many features a frame of sound has and how many frames there are "
        f"(num_mel_bins with max_source_positions or max_length), nor how a waveform is cut (conv_kernel, "
        f"conv_stride); write inputs={{'{main}': 'float32[dims]'}} in @onnx_export"
    )


def _receptive(kernels: Any, strides: Any, frames: int) -> int:
    """Samples that a stack of convolutions makes this many frames of."""
    length = frames
    for kernel, stride in zip(reversed(kernels), reversed(strides), strict=True):
        length = (length - 1) * stride + kernel
    return length


def _decoder(model: Any) -> tuple[Inputs, Dims]:
    """The tokens a decoder is given beside what the encoder reads."""
    config = model.config.get_text_config(decoder=True)
    limit = getattr(model.config, "max_target_positions", None) or _positions(model, config)
    tokens = TensorSpec("int64", "batch, target", low=0, high=config.vocab_size)
    return {"decoder_input_ids": tokens}, {"target": Dim(1, min(int(limit), LONGEST))}


def _going_on(model: Any, label: str, plain: Signature, accepted: set[str], asked: Mapping[str, Dim]) -> Signature:
    """A decoding step: new tokens, a mask of the past and them, and the cache under flat names."""
    past = asked["past"]
    step = "target" if model.config.is_encoder_decoder else "seq"
    known = plain.dims[step].max if model.config.is_encoder_decoder else _positions(model, model.config)
    if past.max >= known:
        raise SourceError(
            f"{label}: a past of up to {past.max} leaves no position for a new token: the model has {known}; "
            f"give dims={{'past': ({past.min}, n)}} with n below {known}"
        )
    dims: Dims = {step: Dim(1, max(1, min(8, known - past.max)))}
    cache = cache_specs(model, label, plain)
    if model.config.is_encoder_decoder:
        inputs = {"decoder_input_ids": plain.inputs["decoder_input_ids"]}
        if "attention_mask" in plain.inputs:
            inputs = {"attention_mask": plain.inputs["attention_mask"], **inputs}
        used = {name for spec in [*inputs.values(), *cache.values()] for name in spec.names}
        dims |= {name: dim for name, dim in plain.dims.items() if name in used and name != step}
    else:
        inputs = {"input_ids": plain.inputs["input_ids"]}
        if "attention_mask" in plain.inputs:
            inputs["attention_mask"] = TensorSpec("int64", "batch, past + seq", values="padding")
        if "position_ids" in accepted:
            inputs["position_ids"] = TensorSpec("int64", "batch, seq", low=0, high=known)
    return Signature(inputs | cache, dims=dims)
