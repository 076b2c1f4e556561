"""The arguments of ``fits``, read once into plain data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pytest_onnxprep.spec.errors import SpecError
from pytest_onnxprep.spec.target_files import target_names

if TYPE_CHECKING:
    from pytest_onnxprep.spec.target import Target


@dataclass(frozen=True)
class FitsRequest:
    """``fits``: the device profile a model is held to.

    Args:
        targets: names or paths as written; empty where ``onnx_export(target=)`` or the option gives them.
        at: the sizes to measure at, one entry; empty for those of the latency budget, or of the export.
        speed_factor: time on the device / time on this machine, measured; takes the place of the profile's own.
        target: the profile, once it is read.
    """

    targets: tuple[str, ...] = ()
    at: tuple[Mapping[str, int], ...] = ()
    speed_factor: float | None = None
    target: Target | None = None


def read_fits(target: Any = None, *, at: Any = None, speed_factor: Any = None) -> FitsRequest:
    """Read the arguments of ``fits``.

    Raises:
        SpecError: anything malformed, with what is accepted.
    """
    if at is not None:
        if not isinstance(at, Mapping) or not at:
            raise SpecError(f"at must map dims to sizes, as in {{'batch': 1}}, not {at!r}")
        for name, size in at.items():
            if isinstance(size, bool) or not isinstance(size, int) or size < 0:
                raise SpecError(f"at: {name} must be a size, not {size!r}")
    factor = None
    if speed_factor is not None:
        from pytest_onnxprep.spec.target import read_factor  # takes tomllib along: only where it is asked for

        factor = read_factor("speed_factor", speed_factor)
    return FitsRequest(() if target is None else target_names(target), () if at is None else (at,), factor)
