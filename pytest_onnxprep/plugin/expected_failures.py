"""``xfail`` for one check or variant of a test: ``@pytest.mark.xfail(check="parity", variant="dynamo", reason=...)``.

Without ``check=`` and ``variant=`` pytest's mark means every item of the test, as it does anywhere else; a strict one
would then fail on the checks that pass.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import pytest

from pytest_onnxprep.marks import CHECKS
from pytest_onnxprep.spec.errors import SpecError, as_tuple, closest

if TYPE_CHECKING:
    from pytest_onnxprep.plugin.items import Cell


def read(marks: Iterable[pytest.Mark]) -> None:
    """Refuse what could never apply.

    Raises:
        SpecError: ``check=`` names no check, or ``variant=`` is no text.
    """
    for mark in marks:
        for check in as_tuple(mark.kwargs.get("check", ())):
            if check not in CHECKS:
                known = ", ".join(CHECKS)
                raise SpecError(f"unknown check {check!r}{closest(str(check), CHECKS)} Accepted: {known}.")
        for variant in as_tuple(mark.kwargs.get("variant", ())):
            if not isinstance(variant, str) or not variant:
                raise SpecError(
                    f"variant must be the start of a variant's id such as 'dynamo-opset20', not {variant!r}"
                )


def concerns(mark: pytest.Mark, cell: Cell) -> bool:
    """Whether an ``xfail`` mark means this item."""
    checks = as_tuple(mark.kwargs.get("check", cell.check))
    variants = as_tuple(mark.kwargs.get("variant", ""))
    return cell.check in checks and any(cell.variant.id.startswith(start) for start in variants)
