"""Hugging Face Transformers: models whose inputs, value ranges and cache layout follow from their config."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pytest_onnxprep.errors import SourceError
from pytest_onnxprep.sources import transformers_guard
from pytest_onnxprep.sources.torch_module import TorchSource
from pytest_onnxprep.sources.trace import DEFAULT, Limits, Trace
from pytest_onnxprep.sources.transformers_cache import flatten, gather, is_past
from pytest_onnxprep.sources.transformers_inputs import derive
from pytest_onnxprep.spec.dims import Dim
from pytest_onnxprep.spec.signature import Signature

#: Weights of a model made from nothing but its config: the same every time, or no two runs would compare.
_SEED = 0


def load(value: Any) -> TransformersSource:
    """Make a source of a model object, a folder written by ``save_pretrained``, a config or a ``config.json``."""
    if isinstance(value, Path):
        try:
            value = _from_folder(value) if value.is_dir() else _from_file(value)
        except SourceError:
            raise
        except Exception as error:
            raise SourceError(transformers_guard.told(value, error)) from error
    elif hasattr(value, "model_type"):
        value = _from_config(value, type(value).__name__)
    return TransformersSource(value)


def _from_folder(folder: Path) -> Any:
    described = folder / "config.json"
    weights = transformers_guard.check_weights(folder, transformers_guard.check_config(described))
    architecture = architecture_of(_config(folder), str(described))
    transformers_guard.try_building(described, weights)
    return architecture.from_pretrained(folder, local_files_only=True, trust_remote_code=False).eval()


def _from_file(path: Path) -> Any:
    transformers_guard.check_config(path)
    config = _config(path)
    architecture_of(config, str(path))
    transformers_guard.try_building(path, None)
    return _from_config(config, str(path))


def _config(place: Path) -> Any:
    """A config; without the word about trust, Transformers would ask at the terminal whether to run its code."""
    import transformers

    return transformers.AutoConfig.from_pretrained(place, local_files_only=True, trust_remote_code=False)


def _from_config(config: Any, where: str) -> Any:
    """A model of this config, in eval mode; the caller's random state is left alone."""
    import torch

    architecture = architecture_of(config, where)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(_SEED)
        return architecture(config).eval()


def architecture_of(config: Any, where: str) -> Any:
    """The model class that a config names.

    Raises:
        SourceError: it names none.
    """
    import transformers

    names = config.architectures or []
    found = getattr(transformers, names[0], None) if names and isinstance(names[0], str) else None
    if not (isinstance(found, type) and issubclass(found, transformers.PreTrainedModel)):
        raise SourceError(
            f"{where!r} names no architecture this Transformers version has ({names}); "
            "set architectures=['BertForSequenceClassification'] or the like in the config, "
            "or load the model in a factory instead"
        )
    return found


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
        """Inputs from the model's config: vocabulary, masks, positions, picture sizes, features of sound."""
        return derive(self.model, self.label, {})

    def signature_for(self, dims: Mapping[str, Dim]) -> Signature:
        """As `derived_signature`; a dim called ``past`` asks for a step that goes on from a cache."""
        return derive(self.model, self.label, dims)

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
        plain = {name: tensor for name, tensor in tensors.items() if not is_past(name)}
        past = {name: tensor for name, tensor in tensors.items() if is_past(name)}
        if past:
            plain["past_key_values"] = gather(past)
        said = plain.get("encoder_outputs")
        if said is None:
            key = past.get("past_key_values.0.encoder.key")
            if key is None:
                return self._call(plain)
            # A decoder with the cross-attention's cache reads nothing of what the encoder said but how long it is.
            said = key.new_zeros((key.shape[0], key.shape[2], 1))
        from transformers.modeling_outputs import BaseModelOutput

        outputs = self._call(plain | {"encoder_outputs": BaseModelOutput(last_hidden_state=said)})
        return {name: value for name, value in outputs.items() if name != "encoder_last_hidden_state"}

    def _call(self, arguments: Mapping[str, Any]) -> Any:
        return self.model(**arguments, **self.flags(), return_dict=True)

    def flags(self) -> dict[str, bool]:
        """What to tell the model beside its inputs."""
        return {"use_cache": self._wants_cache} if hasattr(self.model.config, "use_cache") else {}

    def expand(self, value: Any) -> Iterator[tuple[str, Any]] | None:
        """Flatten a Transformers cache into ``present.<layer>.key`` / ``.value``."""
        return flatten(value)
