"""``options={"inputs_as_nchw": [...], "outputs_as_nchw": [...]}``: pictures that the file has channels first.

What a user writes (``inputs=``, ``outputs=``, ``generate=``, ``values=``, ``samples=``, ``dataset=``) is what the model
itself takes and gives: NHWC. What an `OnnxModel` says and takes is what is deployed: NCHW for the names listed here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from pytest_onnxprep.spec.errors import SpecError, closest
from pytest_onnxprep.spec.signature import Signature
from pytest_onnxprep.spec.tensor import TensorSpec

INPUTS, OUTPUTS = "inputs_as_nchw", "outputs_as_nchw"
#: Axes of an NHWC tensor in NCHW's order, and back.
TO_NCHW, TO_NHWC = (0, 3, 1, 2), (0, 2, 3, 1)


@dataclass(frozen=True)
class Layout:
    """Which tensors are NHWC in the model and NCHW in the file; false where there are none.

    Args:
        inputs: names.
        outputs: likewise.
    """

    inputs: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()

    @classmethod
    def of(cls, options: Mapping[str, Any]) -> Layout:
        """What an exporter's ``options=`` ask for.

        Raises:
            SpecError: no list of names.
        """
        return cls(_names(INPUTS, options.get(INPUTS, ())), _names(OUTPUTS, options.get(OUTPUTS, ())))

    def __bool__(self) -> bool:
        return bool(self.inputs or self.outputs)

    def check(self, inputs: Mapping[str, TensorSpec] | None, outputs: Mapping[str, TensorSpec | None] | None) -> None:
        """Refuse names that are no inputs or outputs, and tensors that are no pictures.

        Args:
            inputs: as declared or derived; None where they are not known yet.
            outputs: likewise.

        Raises:
            SpecError: with what is accepted.
        """
        for option, names, known in ((INPUTS, self.inputs, inputs), (OUTPUTS, self.outputs, outputs)):
            for name in names if known is not None else ():
                check_name(option, name, known or ())
                spec = (known or {})[name]
                if spec is not None:
                    check_rank(option, name, spec, len(spec.shape))

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
        return _turned(feeds, self.inputs, TO_NCHW)

    def declared_feeds(self, feeds: Mapping[str, Any]) -> dict[str, Any]:
        """What the model takes, of what the file takes."""
        return _turned(feeds, self.inputs, TO_NHWC)

    def filed_outputs(self, outputs: Mapping[str, Any]) -> dict[str, Any]:
        """What the file gives, of what the model gives."""
        return _turned(outputs, self.outputs, TO_NCHW)

    def declared_outputs(self, outputs: Mapping[str, Any]) -> dict[str, Any]:
        """What the model gives, of what the file gives."""
        return _turned(outputs, self.outputs, TO_NHWC)


def check_name(option: str, name: str, known: Iterable[str]) -> None:
    """Refuse the name of nothing.

    Raises:
        SpecError: with the names there are.
    """
    if name not in known:
        kind = "input" if option == INPUTS else "output"
        raise SpecError(
            f"options[{option!r}]: there is no {kind} {name!r}{closest(name, known)} "
            f"{kind.capitalize()}s of this model: {', '.join(known) or 'none'}."
        )


def check_rank(option: str, name: str, shown: object, rank: int) -> None:
    """Refuse what has no height, width and channels.

    Raises:
        SpecError: it has another rank than 4.
    """
    if rank != 4:
        raise SpecError(
            f"options[{option!r}]: {name!r} is {shown}, of rank {rank}; a picture of rank 4 is accepted: "
            "[batch, height, width, channels]"
        )


def _names(option: str, value: Any) -> tuple[str, ...]:
    found = (value,) if isinstance(value, str) else value
    if not isinstance(found, (list, tuple)) or not all(isinstance(name, str) and name for name in found):
        kind = "inputs" if option == INPUTS else "outputs"
        raise SpecError(f"options[{option!r}] must be a list of {kind}, as in ['image'], not {value!r}")
    # tf2onnx's own spelling is that of TensorFlow's tensors: ``image:0``.
    return tuple(dict.fromkeys(name.removesuffix(":0") for name in found))


def _turned(arrays: Mapping[str, Any], names: Iterable[str], order: tuple[int, ...]) -> dict[str, Any]:
    import numpy as np

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
        import numpy as np

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
        return _turned({"": made}, [""], self.order)[""]


@dataclass(frozen=True)
class _Generate:
    """The user's ``generate(dims, rng)``, its arrays turned for the file."""

    own: Callable[..., Any]
    layout: Layout

    def __call__(self, dims: Mapping[str, int], rng: Any) -> Any:
        made = self.own(dims, rng)
        return self.layout.filed_feeds(made) if isinstance(made, Mapping) else made
