"""``options={"inputs_as_nchw": [...], "outputs_as_nchw": [...]}``: pictures that the file has channels first."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Self

from pytest_onnxprep.spec.errors import SpecError, closest
from pytest_onnxprep.spec.tensor import TensorSpec

INPUTS, OUTPUTS = "inputs_as_nchw", "outputs_as_nchw"


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
    def of(cls, options: Mapping[str, Any]) -> Self:
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
