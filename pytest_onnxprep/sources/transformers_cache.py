"""A key/value cache under flat names: in as ``past_key_values.0.key``, out as ``present.0.key``.

The names are those of the Transformers and Optimum ONNX exports. A model with an encoder has two caches, of its own
tokens (``past_key_values.0.decoder.key``) and of what the encoder said (``past_key_values.0.encoder.key``).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from pytest_onnxprep.errors import SourceError
from pytest_onnxprep.spec.signature import Signature
from pytest_onnxprep.spec.tensor import TensorSpec

_PAST = re.compile(r"past_key_values\.(\d+)\.((?:decoder|encoder)\.)?(key|value)")

#: Tokens the cache is read off with; neither a width nor a number of heads a real model has.
_PROBED = 7


def is_past(name: str) -> bool:
    """Whether an input of this name is one tensor of a cache."""
    return _PAST.fullmatch(name) is not None


def gather(past: Mapping[str, Any]) -> Any:
    """The cache object that flat tensors stand for.

    Raises:
        SourceError: a key without its value, or the other way round.
    """
    from transformers import DynamicCache, EncoderDecoderCache

    sides: dict[str, Any] = {}
    for side, layer in sorted({(m[2] or "", int(m[1])) for m in map(_PAST.fullmatch, past) if m}):
        try:
            key, value = (past[f"past_key_values.{layer}.{side}{kind}"] for kind in ("key", "value"))
        except KeyError as error:
            raise SourceError(f"inputs: layer {layer} of the cache lacks {error}; give key and value") from None
        sides.setdefault(side, DynamicCache()).update(key, value, layer)
    if "" in sides:
        return sides[""]
    return EncoderDecoderCache(sides.get("decoder.") or DynamicCache(), sides.get("encoder.") or DynamicCache())


def flatten(cache: Any) -> Iterator[tuple[str, Any]] | None:
    """``present.<layer>.key`` / ``.value`` of a cache; None of anything else."""
    if hasattr(cache, "self_attention_cache") and hasattr(cache, "cross_attention_cache"):
        sides = (("decoder.", cache.self_attention_cache), ("encoder.", cache.cross_attention_cache))
        return (pair for side, part in sides for pair in _layers(part, side))
    if getattr(cache, "layers", None) is None or not hasattr(cache, "get_seq_length"):
        return None
    return _layers(cache, "")


def _layers(cache: Any, side: str) -> Iterator[tuple[str, Any]]:
    return (
        (f"present.{index}.{side}{kind}", tensor)
        for index, layer in enumerate(cache.layers)
        for kind, tensor in (("key", layer.keys), ("value", layer.values))
    )


def cache_specs(model: Any, label: str, signature: Signature) -> dict[str, TensorSpec]:
    """The cache as inputs: heads and widths read off the cache of one small call, since no two configs agree on them.

    Args:
        model: a ``PreTrainedModel`` that takes ``past_key_values``.
        label: what to call it in messages.
        signature: its inputs without a cache.

    Raises:
        SourceError: what the model keeps is no cache of keys and values that grows by tokens.
    """
    import torch

    sizes = {name: dim.smallest for name, dim in signature.dims.items()} | {"seq": _PROBED, "target": 1}
    tensors = {
        name: torch.full(
            spec.concrete(sizes), 1 if "mask" in name else 0, dtype=getattr(torch, spec.dtype), device=model.device
        )
        for name, spec in signature.inputs.items()
    }
    with torch.no_grad():
        cache = model(**tensors, use_cache=True, return_dict=True).past_key_values
    if cache is None:
        raise SourceError(f"{label} does not go on from a cache (past_key_values): leave 'past' out of dims=")
    named = flatten(cache)
    specs = {}
    for name, tensor in named or ():
        if not isinstance(tensor, torch.Tensor) or tensor.ndim != 4:
            named = None
            break
        length: Any = "past"
        if ".encoder." in name:
            length = "seq" if tensor.shape[2] == _PROBED else tensor.shape[2]
        dtype = str(tensor.dtype).removeprefix("torch.")
        shape = ("batch", tensor.shape[1], length, tensor.shape[3])
        specs[name.replace("present", "past_key_values", 1)] = TensorSpec(dtype, shape, low=-2, high=2)
    if named is None:
        raise SourceError(
            f"{label} keeps a {type(cache).__name__}, which is no cache of keys and values that grows by tokens; "
            "leave 'past' out of dims=, or write inputs={name: 'dtype[dims]'} in @onnx_export"
        )
    return specs
