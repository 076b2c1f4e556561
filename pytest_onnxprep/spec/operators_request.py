"""The arguments of ``operators``, read once into plain data."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from pytest_onnxprep.spec.errors import SpecError

_NAME = re.compile(r"(?:[A-Za-z_*][\w*-]*\.)*[A-Za-z_*?][\w*?-]*")
_ONNX = re.compile(r"^(?:ai\.onnx[.:])(?=[A-Z*?][\w*?]*$)")


@dataclass(frozen=True)
class OperatorsRequest:
    """``operators``: which operators a file may consist of.

    Args:
        allowed: names and patterns (``Conv``, ``com.microsoft.*``); None where every operator is allowed.
        forbidden: names and patterns.
        opset_max: newest opset of ONNX's own domain that the target's runtime reads.
        domains: operator domains accepted beside ONNX's own; None where that was left open.
    """

    allowed: tuple[str, ...] | None = None
    forbidden: tuple[str, ...] = ()
    opset_max: int | None = None
    domains: tuple[str, ...] | None = None

    def declared_domains(self) -> tuple[str, ...]:
        """The domains this names as acceptable: whoever allows ``com.microsoft.Gelu`` has declared its domain."""
        named = {name.rpartition(".")[0] for name in self.allowed or ()} | set(self.domains or ())
        return tuple(sorted(domain for domain in named if domain and not set(domain) & set("*?")))


def read_operators(
    allowed: Any = None, forbidden: Any = None, opset_max: Any = None, domains: Any = None
) -> OperatorsRequest:
    """Read the arguments of ``operators``.

    Raises:
        SpecError: anything malformed, with what is accepted.
    """
    if allowed is None and forbidden is None and opset_max is None and domains is None:
        raise SpecError("no requirement given; accepted: allowed, forbidden, opset_max, domains")
    if opset_max is not None and (isinstance(opset_max, bool) or not isinstance(opset_max, int) or opset_max < 1):
        raise SpecError(f"opset_max must be a whole number >= 1, not {opset_max!r}")
    may = None if allowed is None else operator_names("allowed", allowed)
    must_not = () if forbidden is None else operator_names("forbidden", forbidden)
    both = sorted(set(may or ()) & set(must_not))
    if both:
        raise SpecError(f"both allowed and forbidden: {', '.join(both)}")
    if may == ():
        raise SpecError("allowed: an empty list accepts no model at all; leave it out to accept every operator")
    return OperatorsRequest(may, must_not, opset_max, None if domains is None else _domains(domains))


def operator_names(what: str, names: Any) -> tuple[str, ...]:
    """Names as reports write them: ``Conv`` for ``ai.onnx.Conv`` and ``ai.onnx:Conv``, ``com.microsoft.Gelu``.

    Raises:
        SpecError: not names.
    """
    found = []
    for name in _strings(what, names, "operator names such as 'Conv', 'com.microsoft.Gelu' or 'com.microsoft.*'"):
        plain = _ONNX.sub("", name).replace(":", ".")
        if not _NAME.fullmatch(plain):
            raise SpecError(f"{what}: {name!r} is no operator name; accepted: 'Conv', 'com.microsoft.Gelu', 'Reduce*'")
        found.append(plain)
    return tuple(dict.fromkeys(found))


def matches(name: str, patterns: Iterable[str]) -> str:
    """The first of the patterns that an operator is meant by; empty where none is.

    A pattern without a domain means ONNX's own operators only: ``*`` does not let ``com.microsoft.Gelu`` in.
    """
    domain = name.rpartition(".")[0]
    for pattern in patterns:
        if name == pattern:
            return pattern
        if ("." in pattern or not domain) and fnmatchcase(name, pattern):
            return pattern
    return ""


def _domains(domains: Any) -> tuple[str, ...]:
    found = _strings("domains", domains, "operator domains such as 'com.microsoft'", empty=True)
    return tuple(dict.fromkeys("" if name == "ai.onnx" else name for name in found))


def _strings(what: str, values: Any, accepted: str, *, empty: bool = False) -> list[str]:
    found = [values] if isinstance(values, str) else values
    if not isinstance(found, (list, tuple, set, frozenset)) or not all(isinstance(name, str) for name in found):
        raise SpecError(f"{what} must be {accepted}, not {values!r}")
    if not empty and not all(found):
        raise SpecError(f"{what}: an empty name; accepted: {accepted}")
    return sorted(found) if isinstance(found, (set, frozenset)) else list(found)
