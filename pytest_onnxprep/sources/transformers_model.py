"""Hugging Face Transformers: models whose inputs, value ranges and cache layout follow from their config."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pytest_onnxprep.errors import SourceError
from pytest_onnxprep.sources.torch_module import TorchSource
from pytest_onnxprep.sources.trace import DEFAULT, Limits, Trace
from pytest_onnxprep.spec.dims import Dim
from pytest_onnxprep.spec.signature import Signature
from pytest_onnxprep.spec.tensor import TensorSpec

#: ``past_key_values.3.key``: the flat name of one cache tensor, as in the Transformers and Optimum ONNX exports.
_PAST = re.compile(r"past_key_values\.(\d+)\.(key|value)")

#: Longest sequence drawn by default; a model's own limit is used where it is smaller.
_DEFAULT_MAX_SEQUENCE = 64


def load(value: Any) -> TransformersSource:
    """Make a source of a model object or of a folder written by ``save_pretrained``."""
    return TransformersSource(_from_folder(value) if isinstance(value, Path) else value)


def _from_folder(folder: Path) -> Any:
    import transformers

    config = transformers.AutoConfig.from_pretrained(folder, local_files_only=True)
    names = config.architectures or []
    architecture = getattr(transformers, names[0], None) if names else None
    if architecture is None:
        raise SourceError(
            f"{str(folder / 'config.json')!r} names no architecture this Transformers version has ({names}); "
            "load the model in a factory instead"
        )
    return architecture.from_pretrained(folder, local_files_only=True).eval()


class TransformersSource(TorchSource):
    """A ``PreTrainedModel``; cache tensors go in and out under flat names.

    Inputs ``past_key_values.<layer>.key`` / ``.value`` (float32 ``[batch, heads, past, head_dim]``) become the
    model's cache; a cache in the output comes back as ``present.<layer>.key`` / ``.value``.
    """

    framework = "transformers"

    def __init__(self, model: Any) -> None:
        super().__init__(model)
        self.label = f"{type(model).__name__} (Transformers)"
        self._wants_cache = False

    def derived_signature(self) -> Signature:
        """Inputs from the model's main input and config: vocabulary, padding mask, token types, picture size."""
        config = self.model.config
        main = self.model.main_input_name
        if main == "pixel_values":
            size = config.image_size
            height, width = size if isinstance(size, (list, tuple)) else (size, size)
            return Signature({main: TensorSpec("float32", ("batch", config.num_channels, height, width))})
        if main != "input_ids":
            raise SourceError(
                f"{self.label}: inputs are derived for text (input_ids) and pictures (pixel_values), not for {main!r}; "
                "write inputs={name: 'dtype[dims]'} in @onnx_export"
            )
        longest = int(getattr(config, "max_position_embeddings", 0) or _DEFAULT_MAX_SEQUENCE)
        inputs = {
            "input_ids": TensorSpec("int64", "batch, seq", low=0, high=config.vocab_size),
            "attention_mask": TensorSpec("int64", "batch, seq", values="mask"),
        }
        longest = min(longest, _DEFAULT_MAX_SEQUENCE)
        dims = {"seq": Dim(1, longest)}
        if config.is_encoder_decoder:
            inputs["decoder_input_ids"] = TensorSpec("int64", "batch, target", low=0, high=config.vocab_size)
            dims["target"] = Dim(1, longest)
        return Signature(inputs, dims=dims)

    def prepare(self, signature: Signature) -> None:
        """Ask the model for its cache only where the signature speaks of one."""
        names = [*signature.inputs, *(signature.outputs or {})]
        self._wants_cache = any(name.startswith(("past_key_values.", "present.")) for name in names)

    def run(self, feeds: Any, signature: Signature) -> dict[str, Any]:
        """See `Source.run`."""
        self.prepare(signature)
        return super().run(feeds, signature)

    def trace(self, feeds: Any, signature: Signature, limits: Limits = DEFAULT) -> Trace:
        """See `Source.trace`."""
        self.prepare(signature)
        return super().trace(feeds, signature, limits)

    def call(self, tensors: Mapping[str, Any]) -> Any:
        """Call by keyword, with the flat cache tensors gathered into a cache object."""
        plain = {name: tensor for name, tensor in tensors.items() if not _PAST.fullmatch(name)}
        past = {name: tensor for name, tensor in tensors.items() if _PAST.fullmatch(name)}
        if past:
            plain["past_key_values"] = self._cache(past)
        return self.model(**plain, **self.flags(), return_dict=True)

    def flags(self) -> dict[str, bool]:
        """What to tell the model beside its inputs."""
        return {"use_cache": self._wants_cache} if hasattr(self.model.config, "use_cache") else {}

    def expand(self, value: Any) -> Iterator[tuple[str, Any]] | None:
        """Flatten a Transformers cache into ``present.<layer>.key`` / ``.value``."""
        layers = getattr(value, "layers", None)
        if layers is None or not hasattr(value, "get_seq_length"):
            return None
        return (
            (f"present.{index}.{kind}", tensor)
            for index, layer in enumerate(layers)
            for kind, tensor in (("key", layer.keys), ("value", layer.values))
        )

    def _cache(self, past: Mapping[str, Any]) -> Any:
        from transformers import DynamicCache

        cache = DynamicCache()
        layers = sorted({int(_PAST.fullmatch(name).group(1)) for name in past})  # type: ignore[union-attr]
        for layer in layers:
            try:
                key, value = past[f"past_key_values.{layer}.key"], past[f"past_key_values.{layer}.value"]
            except KeyError as error:
                raise SourceError(f"inputs: layer {layer} of the cache lacks {error}; give key and value") from None
            cache.update(key, value, layer)
        return cache
