"""What every source offers, and the flattening of nested outputs into named tensors."""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np

from pytest_onnxprep.errors import SourceError, closest
from pytest_onnxprep.sources.source_code import Digest
from pytest_onnxprep.sources.trace import DEFAULT, Limits, Trace
from pytest_onnxprep.spec.dims import Dim
from pytest_onnxprep.spec.signature import Signature

if TYPE_CHECKING:
    from pytest_onnxprep.sources.custody import Belonging

Feeds = Mapping[str, np.ndarray]
Arrays = dict[str, np.ndarray]
#: ``feeds -> outputs`` in float64; None where an operator has no float64 form.
Double = Callable[[Feeds], Arrays | None]


@runtime_checkable
class RoundingDouble(Protocol):
    """A `Double` that can also round every operation as the model's own precision might."""

    def __call__(self, feeds: Feeds) -> Arrays | None:
        """In float64."""

    def rounded(self, feeds: Feeds, seed: int) -> Arrays | None:
        """Rounded at random; 0 makes zero of every number below the smallest normal one."""


class Source(ABC):
    """A model in its own framework: the reference every ONNX file is held to.

    Attributes:
        framework: ``torch``, ``transformers``, ``keras``, ``tensorflow``, ``jax`` or ``onnx``.
        label: the model as a person would call it, for messages.
        model: the user's object, untouched.
        compiles_each_size: whether a call at a new size costs a compilation, a hundred times the call itself.
        recipe: how another process gets the same model; None where nobody asked for it.
    """

    framework: str
    label: str
    model: Any
    compiles_each_size: bool = False
    recipe: Any = None

    @cached_property
    def memo(self) -> dict[str, Any]:
        """What was found out about this model in this process; gone with it."""
        return {}

    def derived_signature(self) -> Signature | None:
        """The signature the model itself knows, or None where the user has to write ``inputs=``."""
        return None

    def equip(self, libraries: Sequence[str]) -> bool:  # noqa: ARG002 - only ONNX files are run by ONNX Runtime
        """Take the libraries of custom operators that the reference is run with; before anything runs.

        Args:
            libraries: as ``options["ort_custom_ops"]`` names them.

        Returns:
            Whether it is ONNX Runtime that runs the reference, so that they matter.
        """
        return False

    def takes(self) -> str:
        """What a call of the model takes, as far as it says so; for messages."""
        return ""

    def signature_for(self, dims: Mapping[str, Dim]) -> Signature | None:  # noqa: ARG002 - for those who look at it
        """The derived signature, where the dims the user named may choose among several."""
        return self.derived_signature()

    def unsuited(self) -> Mapping[str, str]:
        """Exporters that take this framework but not this very model: name -> why."""
        return {}

    def last_resorts(self) -> Mapping[str, str]:
        """Exporters that take this very model when they are named, and are no default for it: name -> why."""
        return {}

    def built(self) -> bool:
        """Whether all weights exist; models that learn their shapes from the first call have none before it."""
        return True

    def try_out(self, feeds: Feeds, signature: Signature) -> str:  # noqa: ARG002 - for files
        """Run once in a child process, within limits: a file made elsewhere may never end, or take all memory.

        Returns:
            Why it did not end well; empty where it did, or where the model is the user's own code. What the framework
            merely refuses is left to `run` to tell.
        """
        return ""

    def tried_out(self, feeds: Feeds, signature: Signature) -> str:
        """`try_out`, on whatever inputs it is asked for first."""
        if "tried_out" not in self.memo:
            self.memo["tried_out"] = self.try_out(feeds, signature)
        failed: str = self.memo["tried_out"]
        return failed

    def check_tried_out(self, feeds: Feeds, signature: Signature) -> None:
        """Before the model first runs here.

        Raises:
            SourceError: elsewhere it did not end well.
        """
        failed = self.tried_out(feeds, signature)
        if failed:
            raise SourceError(f"{self.label} is not run here, as in a process of its own {failed}")

    @abstractmethod
    def run(self, feeds: Feeds, signature: Signature) -> Arrays:
        """Run the untouched model eagerly, in inference mode, on the CPU.

        Args:
            feeds: input name -> array; never written to.
            signature: names the outputs.

        Returns:
            Output name -> array, in the model's order.

        Raises:
            ReferenceRefused: the framework does not take these sizes or values.
        """

    @abstractmethod
    def fingerprint(self) -> Digest:
        """A digest of weights, configuration and code."""

    def trace(self, feeds: Feeds, signature: Signature, limits: Limits = DEFAULT) -> Trace:  # noqa: ARG002
        """The framework's own intermediate values on these inputs; none where the source has no insides to show.

        Args:
            feeds: input name -> array; never written to.
            signature: names the outputs.
            limits: when recording ends.
        """
        return Trace(complete=False, why=f"a source of kind {self.framework!r} shows no intermediate values")

    def state(self) -> Mapping[str, np.ndarray]:
        """Copies of everything a call could change (buffers, non-trainable variables), by name."""
        return {}

    def restore(self, state: Mapping[str, np.ndarray]) -> None:  # noqa: B027 - most sources carry no state
        """Put back what `state` returned."""

    def in_double(self, signature: Signature) -> Double | None:  # noqa: ARG002 - for those who can
        """The model in float64, for its own rounding error; None where the framework offers no such thing."""
        return None

    def answers_apart(self, feeds: Feeds, signature: Signature) -> Iterator[tuple[Arrays, Arrays]]:  # noqa: ARG002
        """Pairs of answers that differ by rounding alone, where a source can round between its parts."""
        yield from ()

    def held_weights(self) -> Iterator[tuple[str, np.ndarray]]:
        """Weights that lie on the CPU as they are, without a copy: name and array; none where there is no such view."""
        return iter(())

    def belongings(self) -> list[Belonging]:
        """Snapshots of what an exporter could change besides `state`; see `custody.untouched`."""
        return []

    @contextmanager
    def limited_to(self, threads: int) -> Iterator[bool]:  # noqa: ARG002 - for those who can
        """Let the framework compute with this many threads while it lasts; gives whether it does."""
        yield False

    def mode_hint(self) -> str:
        """Why two calls might differ (``model is in train mode: ...``), or an empty string."""
        return ""

    def release(self) -> None:  # noqa: B027 - only some sources hold what should be let go
        """Drop caches that make no sense once the model is no longer in use."""


#: Yields ``(suffix, leaf)`` for a framework's own container, or returns None when it is not one.
Expand = Callable[[Any], Iterator[tuple[str, Any]] | None]


def flatten_outputs(
    value: Any, is_tensor: Callable[[Any], bool], expand: Expand | None = None
) -> list[tuple[str, Any]]:
    """Flatten a model's result into ``(name, tensor)`` pairs.

    A lone tensor is ``output``; items of a list or tuple are ``output_0``, ``output_1``, ...; mappings, dataclasses
    and named tuples give their own names, joined by dots below the first level. ``None`` is left out.
    """
    if is_tensor(value):
        return [("output", value)]
    return list(_leaves(value, "", is_tensor, expand))


def _leaves(
    value: Any, prefix: str, is_tensor: Callable[[Any], bool], expand: Expand | None
) -> Iterator[tuple[str, Any]]:
    if value is None:
        return
    if is_tensor(value):
        yield prefix, value
        return
    named = expand(value) if expand is not None else None
    if named is not None:
        yield from named
        return
    for name, item in _items(value, prefix):
        yield from _leaves(item, name, is_tensor, expand)


def _items(value: Any, prefix: str) -> Iterator[tuple[str, Any]]:
    join = f"{prefix}." if prefix else ""
    if isinstance(value, Mapping):
        yield from ((f"{join}{key}", item) for key, item in value.items())
    elif hasattr(value, "_fields"):
        yield from ((f"{join}{key}", getattr(value, key)) for key in value._fields)
    elif dataclasses.is_dataclass(value):
        yield from ((f"{join}{field.name}", getattr(value, field.name)) for field in dataclasses.fields(value))
    elif isinstance(value, (list, tuple)):
        stem = join or "output_"
        yield from ((f"{stem}{index}", item) for index, item in enumerate(value))
    else:
        where = f" in output {prefix!r}" if prefix else ""
        raise SourceError(
            f"the model returned {type(value).__name__}{where}; accepted: tensors, and lists, tuples, mappings, "
            "dataclasses and named tuples of tensors"
        )


def name_outputs(natural: list[tuple[str, Any]], signature: Signature, label: str) -> list[tuple[str, Any]]:
    """Give outputs their declared names, and leave out the ones nobody declared.

    Declared names that the model itself uses select those outputs; otherwise they rename all of them, in order.

    Raises:
        SourceError: the counts differ.
    """
    if signature.outputs is None:
        return natural
    declared = list(signature.outputs)
    known = dict(natural)
    if all(name in known for name in declared):
        return [(name, known[name]) for name in declared]
    if len(declared) == len(natural):
        return [(name, value) for name, (_, value) in zip(declared, natural, strict=True)]
    unknown = next(name for name in declared if name not in known)
    raise SourceError(
        f"outputs: {label} returns {len(natural)} tensors ({', '.join(known)}), {len(declared)} names were declared "
        f"({', '.join(declared)}); {unknown!r} is not one of the model's own names{closest(unknown, known)} "
        "Declare a name for every output, or only names the model itself uses."
    )
