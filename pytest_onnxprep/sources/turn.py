"""Between what the model takes and what the file takes, where they have their pictures in another order of axes.

What a user writes (``inputs=``, ``outputs=``, ``generate=``, ``values=``, ``samples=``, ``dataset=``) is what the model
itself takes and gives: NHWC. What an `OnnxModel` says and takes is what is deployed: NCHW for the names that
``inputs_as_nchw`` and ``outputs_as_nchw`` list.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from pytest_onnxprep.spec.layout import Layout
from pytest_onnxprep.spec.signature import Signature
from pytest_onnxprep.spec.tensor import TensorSpec

#: Axes of an NHWC tensor in NCHW's order, and back.
TO_NCHW, TO_NHWC = (0, 3, 1, 2), (0, 2, 3, 1)


class Turn(Layout):
    """A `Layout` that turns signatures and arrays; without names it leaves them as they are."""

    def filed(self, signature: Signature) -> Signature:
        """The file's signature, of the model's."""
        generate = signature.generate and _Generate(signature.generate, self)
        return self._turned(signature, TO_NCHW, generate)

    def declared(self, signature: Signature) -> Signature:
        """The model's signature, of the file's."""
        generate = signature.generate
        return self._turned(signature, TO_NHWC, generate.own if isinstance(generate, _Generate) else generate)

    def _turned(self, signature: Signature, order: tuple[int, ...], generate: Any) -> Signature:
        inputs = {name: _moved(spec, order) if name in self.inputs else spec for name, spec in signature.inputs.items()}
        outputs = signature.outputs and {
            name: spec if spec is None or name not in self.outputs else _moved(spec, order)
            for name, spec in signature.outputs.items()
        }
        return replace(signature, inputs=inputs, outputs=outputs, generate=generate)

    def filed_feeds(self, feeds: Mapping[str, Any]) -> dict[str, Any]:
        """What the file takes, of what the model takes."""
        return _arrays(feeds, self.inputs, TO_NCHW)

    def declared_feeds(self, feeds: Mapping[str, Any]) -> dict[str, Any]:
        """What the model takes, of what the file takes."""
        return _arrays(feeds, self.inputs, TO_NHWC)

    def filed_outputs(self, outputs: Mapping[str, Any]) -> dict[str, Any]:
        """What the file gives, of what the model gives."""
        return _arrays(outputs, self.outputs, TO_NCHW)

    def declared_outputs(self, outputs: Mapping[str, Any]) -> dict[str, Any]:
        """What the model gives, of what the file gives."""
        return _arrays(outputs, self.outputs, TO_NHWC)


def _arrays(arrays: Mapping[str, Any], names: Iterable[str], order: tuple[int, ...]) -> dict[str, Any]:
    return {
        name: np.ascontiguousarray(np.transpose(array, order)) if name in names and np.ndim(array) == 4 else array
        for name, array in arrays.items()
    }


def _moved(spec: TensorSpec, order: tuple[int, ...]) -> TensorSpec:
    """The spec with its axes in another order; makers of values go on making the shape they were written for."""
    if len(spec.shape) != 4:
        return spec  # of the user's own making; the checks say so
    values, example = spec.values, spec.example
    if callable(values) and not type(values).__module__.startswith("hypothesis."):
        values = _back(values, order)
    if example is not None:
        plain = example.detach().cpu() if hasattr(example, "detach") else example
        example = np.ascontiguousarray(np.transpose(np.asarray(plain), order))
    return replace(spec, shape=tuple(spec.shape[axis] for axis in order), values=values, example=example)


def _back(values: Callable[..., Any], order: tuple[int, ...]) -> Callable[..., Any]:
    if isinstance(values, _Values) and values.order != order:
        return values.own
    return _Values(values, order)


@dataclass(frozen=True)
class _Values:
    """The user's ``f(rng, shape)`` for a tensor whose axes were moved."""

    own: Callable[..., Any]
    order: tuple[int, ...]

    def __call__(self, rng: Any, shape: tuple[int, ...]) -> Any:
        sizes = dict(zip(self.order, shape, strict=True))
        made = self.own(rng, tuple(sizes[axis] for axis in range(len(shape))))
        return _arrays({"": made}, [""], self.order)[""]


@dataclass(frozen=True)
class _Generate:
    """The user's ``generate(dims, rng)``, its arrays turned for the file."""

    own: Callable[..., Any]
    turn: Turn

    def __call__(self, dims: Mapping[str, int], rng: Any) -> Any:
        made = self.own(dims, rng)
        return self.turn.filed_feeds(made) if isinstance(made, Mapping) else made
