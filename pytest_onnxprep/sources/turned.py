"""A model whose pictures are turned at its ends: NHWC within, as its framework has them, NCHW as the file has them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, cast

import numpy as np

from pytest_onnxprep.errors import ReferenceRefused
from pytest_onnxprep.sources.base import Arrays, Double, Feeds, RoundingDouble, Source
from pytest_onnxprep.sources.source_code import Digest
from pytest_onnxprep.sources.trace import DEFAULT, Limits, Trace
from pytest_onnxprep.sources.turn import TO_NCHW, TO_NHWC, Turn
from pytest_onnxprep.spec.dims import Dim
from pytest_onnxprep.spec.layout import INPUTS, OUTPUTS, check_name, check_rank
from pytest_onnxprep.spec.signature import Signature


def turned(source: Source, layout: Turn) -> Source:
    """The source as a file in this layout sees it, the same object every time; the source itself without a layout."""
    if not layout or isinstance(source, TurnedSource):
        return source
    key = f"turned {layout}"
    if key not in source.memo:
        source.memo[key] = TurnedSource(source, layout)
    made: Source = source.memo[key]
    return made


def unturned(source: Source) -> Source:
    """The user's model itself."""
    return source.inner if isinstance(source, TurnedSource) else source


class TurnedSource(Source):
    """Another source, which is given NHWC where it is fed NCHW. The model itself is untouched.

    Args:
        inner: the user's model.
        layout: what is turned.
    """

    def __init__(self, inner: Source, layout: Turn) -> None:
        self.inner = inner
        self.layout = layout
        self.framework, self.label, self.model = inner.framework, inner.label, inner.model
        self.compiles_each_size = inner.compiles_each_size

    @property
    def recipe(self) -> Any:
        """See `Source.recipe`."""
        return self.inner.recipe

    @recipe.setter
    def recipe(self, value: Any) -> None:
        self.inner.recipe = value

    def derived_signature(self) -> Signature | None:
        """See `Source.derived_signature`."""
        derived = self.inner.derived_signature()
        return None if derived is None else self.layout.filed(derived)

    def takes(self) -> str:
        """See `Source.takes`."""
        return self.inner.takes()

    def signature_for(self, dims: Mapping[str, Dim]) -> Signature | None:
        """See `Source.signature_for`."""
        derived = self.inner.signature_for(dims)
        return None if derived is None else self.layout.filed(derived)

    def unsuited(self) -> Mapping[str, str]:
        """See `Source.unsuited`."""
        return self.inner.unsuited()

    def last_resorts(self) -> Mapping[str, str]:
        """See `Source.last_resorts`."""
        return self.inner.last_resorts()

    def built(self) -> bool:
        """See `Source.built`."""
        return self.inner.built()

    def try_out(self, feeds: Feeds, signature: Signature) -> str:
        """See `Source.try_out`."""
        return self.inner.try_out(self.layout.declared_feeds(feeds), self.layout.declared(signature))

    def run(self, feeds: Feeds, signature: Signature) -> Arrays:
        """See `Source.run`."""
        own = self.layout.declared_feeds(feeds)
        try:
            outputs = self.inner.run(own, self.layout.declared(signature))
        except ReferenceRefused as error:
            given = ", ".join(f"{name} {np.shape(own[name])}" for name in self.layout.inputs if name in own)
            if not given:
                raise
            raise ReferenceRefused(
                f"{error} (it was given {given}: options[{INPUTS!r}] leaves inputs= as the model takes them, NHWC, and "
                "turns them in the file)"
            ) from error
        for name in self.layout.outputs:
            check_name(OUTPUTS, name, outputs)
            check_rank(OUTPUTS, name, f"of shape {list(outputs[name].shape)}", outputs[name].ndim)
        return self.layout.filed_outputs(outputs)

    def call(self, tensors: Mapping[str, Any]) -> Any:
        """Call the model inside a graph; what exporters of Keras, TensorFlow and JAX trace."""
        inner = cast("Any", self.inner)
        return inner.call(
            {
                name: self._moved(tensor, TO_NHWC) if name in self.layout.inputs else tensor
                for name, tensor in tensors.items()
            }
        )

    def named(self, outputs: Any, signature: Signature) -> list[tuple[str, Any]]:
        """Flatten and name what `call` returned."""
        inner = cast("Any", self.inner)
        return [
            (name, self._moved(tensor, TO_NCHW) if name in self.layout.outputs else tensor)
            for name, tensor in inner.named(outputs, self.layout.declared(signature))
        ]

    def _moved(self, tensor: Any, order: tuple[int, ...]) -> Any:
        if self.framework == "jax":
            import jax.numpy as jnp

            return jnp.transpose(tensor, order)
        import tensorflow as tf

        return tf.transpose(tensor, order)

    def fingerprint(self) -> Digest:
        """That of the model, and what is turned."""
        own = self.inner.fingerprint()
        digest = hashlib.blake2b(f"{own.hexdigest} {self.layout}".encode(), digest_size=20)
        return Digest(digest.hexdigest(), own.stable)

    def trace(self, feeds: Feeds, signature: Signature, limits: Limits = DEFAULT) -> Trace:
        """The model's own values, NHWC throughout."""
        return self.inner.trace(self.layout.declared_feeds(feeds), self.layout.declared(signature), limits)

    def state(self) -> Mapping[str, np.ndarray]:
        """See `Source.state`."""
        return self.inner.state()

    def restore(self, state: Mapping[str, np.ndarray]) -> None:
        """See `Source.restore`."""
        self.inner.restore(state)

    def in_double(self, signature: Signature) -> Double | None:
        """See `Source.in_double`."""
        double = self.inner.in_double(self.layout.declared(signature))
        if double is None:
            return None
        return (_TurnedRounding if isinstance(double, RoundingDouble) else _TurnedDouble)(double, self.layout)

    def answers_apart(self, feeds: Feeds, signature: Signature) -> Iterator[tuple[Arrays, Arrays]]:
        """See `Source.answers_apart`."""
        own = self.layout.declared_feeds(feeds)
        for one, other in self.inner.answers_apart(own, self.layout.declared(signature)):
            yield self.layout.filed_outputs(one), self.layout.filed_outputs(other)

    def held_weights(self) -> Iterator[tuple[str, np.ndarray]]:
        """See `Source.held_weights`."""
        return self.inner.held_weights()

    def belongings(self) -> list[Any]:
        """See `Source.belongings`."""
        return self.inner.belongings()

    @contextmanager
    def limited_to(self, threads: int) -> Iterator[bool]:
        """See `Source.limited_to`."""
        with self.inner.limited_to(threads) as is_limited:
            yield is_limited

    def mode_hint(self) -> str:
        """See `Source.mode_hint`."""
        return self.inner.mode_hint()

    def release(self) -> None:
        """See `Source.release`."""
        self.inner.release()


class _TurnedDouble:
    def __init__(self, inner: Any, layout: Turn) -> None:
        self._inner, self._layout = inner, layout
        #: See `OtherKernels`.
        self.speaks_for_rounding = getattr(inner, "speaks_for_rounding", False)

    def __call__(self, feeds: Feeds) -> Arrays | None:
        found = self._inner(self._layout.declared_feeds(feeds))
        return None if found is None else self._layout.filed_outputs(found)


class _TurnedRounding(_TurnedDouble):
    def rounded(self, feeds: Feeds, seed: int) -> Arrays | None:
        found = self._inner.rounded(self._layout.declared_feeds(feeds), seed)
        return None if found is None else self._layout.filed_outputs(found)
