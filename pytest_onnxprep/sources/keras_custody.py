"""A Keras model as it is handed to an exporter: weights, flags, compiled state, and what the user's layers hold."""

from __future__ import annotations

from typing import Any

from pytest_onnxprep.sources.checksum import checksum
from pytest_onnxprep.sources.custody import Belonging, Contents, Custody
from pytest_onnxprep.sources.keras_model import to_array
from pytest_onnxprep.sources.live_code import is_user

#: What Keras keeps in a layer that decides what it computes and learns; the rest of its own attributes are caches.
_FLAGS = ("_trainable", "trainable", "optimizer", "compiled", "_dtype_policy", "call", "_supports_masking")


def belongings(model: Any) -> list[Belonging]:
    """Everything of a model that an exporter could change and that `Source.state` does not hold."""
    return [Variables(model), Layers(model)]


class Variables:
    """Trainable weights, by checksum."""

    def __init__(self, model: Any) -> None:
        self._kept = [(variable, _checksum(variable)) for variable in model.trainable_variables]

    def put_back(self, custody: Custody) -> None:
        """See `Belonging`. Values overwritten in place are lost."""
        custody.lost += [
            f"weight {variable.path!r}: its values were overwritten"
            for variable, before in self._kept
            if _checksum(variable) != before
        ]


class Layers:
    """Flags of every layer, and the attributes of those whose class is the user's."""

    def __init__(self, model: Any) -> None:
        self._kept: list[tuple[Any, dict[str, Any], bool]] = []
        self._contents = Contents()
        for layer in [model, *model._flatten_layers(include_self=False)]:
            user = is_user(type(layer))
            self._kept.append((layer, dict(vars(layer)), user))
            if user:
                self._contents.add(value for name, value in vars(layer).items() if _own(name))

    def put_back(self, custody: Custody) -> None:
        """See `Belonging`. Straight into ``__dict__``: Keras would track what is assigned as something new."""
        for layer, before, user in self._kept:
            now = vars(layer)
            for name in [name for name in {**before, **now} if name in _FLAGS or (user and _own(name))]:
                if now.get(name) is before.get(name) and (name in now) == (name in before):
                    continue
                if name in _FLAGS:
                    custody.restored.append(f"{layer.name!r}: {name.lstrip('_')} changed")
                if name in before:
                    now[name] = before[name]
                else:
                    del now[name]
        self._contents.put_back(custody)


def _own(name: str) -> bool:
    """Whether an attribute may be the user's: Keras' and TensorFlow's own caches are private, but for one flag."""
    return not name.startswith("_") and name != "built"


def _checksum(variable: Any) -> bytes | None:
    import numpy as np

    try:
        return checksum(np.ascontiguousarray(to_array(variable)))
    except Exception:  # of another backend, or not built
        return None
