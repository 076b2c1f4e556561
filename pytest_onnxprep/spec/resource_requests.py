"""The arguments of the budgets that are measured in fresh processes, read once into plain data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pytest_onnxprep.spec.check_requests import _check_count, _positive, _read_at
from pytest_onnxprep.spec.errors import SpecError

#: Fewest children a median is taken of.
FEWEST_CHILDREN = 3
MOST_CHILDREN = 31


@dataclass(frozen=True)
class MemoryRequest:
    """``memory_budget``: megabytes (10**6 bytes) of a fresh process, at one or several fixed sizes."""

    budgets: Mapping[str, float]
    at: tuple[Mapping[str, int], ...] = ({},)
    threads: int = 1
    provider: str | None = None
    children: int = FEWEST_CHILDREN


@dataclass(frozen=True)
class StartupRequest:
    """``startup_budget``: milliseconds to load the model and to run it for the first time."""

    budgets: Mapping[str, float]
    at: tuple[Mapping[str, int], ...] = ({},)
    threads: int = 1
    provider: str | None = None
    max_time_s: float = 30.0


@dataclass(frozen=True)
class ThroughputRequest:
    """``throughput_budget``: items per second, and which dim counts the items."""

    min_per_s: float
    at: tuple[Mapping[str, int], ...] = ({},)
    threads: int = 1
    provider: str | None = None
    batch: str | None = None
    sweep: bool = True
    max_time_s: float = 30.0

    @property
    def budgets(self) -> dict[str, float]:
        """The budget as the figures show it."""
        return {"min_per_s": self.min_per_s}


def read_memory(
    peak_mb: float | None = None,
    *,
    at: Any = None,
    model_mb: float | None = None,
    steady_mb: float | None = None,
    threads: int = 1,
    provider: str | None = None,
    children: int = FEWEST_CHILDREN,
) -> MemoryRequest:
    """Read the arguments of ``memory_budget``.

    Raises:
        SpecError: anything malformed, with what is accepted.
    """
    given = {"peak_mb": peak_mb, "model_mb": model_mb, "steady_mb": steady_mb}
    budgets = {name: _positive(name, value) for name, value in given.items() if value is not None}
    if not budgets:
        raise SpecError("no budget given; accepted: peak_mb, model_mb, steady_mb (megabytes of 10**6 bytes)")
    _check_count("threads", threads)
    _check_count("children", children)
    if not FEWEST_CHILDREN <= children <= MOST_CHILDREN or not children % 2:
        raise SpecError(
            f"children must be an odd number in {FEWEST_CHILDREN}..{MOST_CHILDREN}, so that their median is one of "
            f"them, not {children}"
        )
    return MemoryRequest(budgets, _read_at(at), threads, _provider(provider), children)


def read_startup(
    load_ms: float | None = None,
    first_run_ms: float | None = None,
    *,
    at: Any = None,
    threads: int = 1,
    provider: str | None = None,
    max_time_s: float = 30.0,
) -> StartupRequest:
    """Read the arguments of ``startup_budget``.

    Raises:
        SpecError: anything malformed, with what is accepted.
    """
    given = {"load_ms": load_ms, "first_run_ms": first_run_ms}
    budgets = {name: _positive(name, value) for name, value in given.items() if value is not None}
    if not budgets:
        raise SpecError("no budget given; accepted: load_ms, first_run_ms (milliseconds)")
    _check_count("threads", threads)
    limit = _positive("max_time_s", max_time_s)
    return StartupRequest(budgets, _read_at(at), threads, _provider(provider), limit)


def read_throughput(
    min_per_s: float | None = None,
    *,
    at: Any = None,
    threads: int = 1,
    provider: str | None = None,
    batch: str | None = None,
    sweep: bool = True,
    max_time_s: float = 30.0,
) -> ThroughputRequest:
    """Read the arguments of ``throughput_budget``.

    Raises:
        SpecError: anything malformed, with what is accepted.
    """
    if min_per_s is None:
        raise SpecError("no budget given; accepted: min_per_s (items per second)")
    _check_count("threads", threads)
    if batch is not None and not isinstance(batch, str):
        raise SpecError(f"batch must be the name of the dim that counts items, such as 'batch', not {batch!r}")
    if not isinstance(sweep, bool):
        raise SpecError(f"sweep must be True or False, not {sweep!r}")
    return ThroughputRequest(
        _positive("min_per_s", min_per_s),
        _read_at(at),
        threads,
        _provider(provider),
        batch,
        sweep,
        _positive("max_time_s", max_time_s),
    )


def _provider(provider: Any) -> str | None:
    if provider is not None and not isinstance(provider, str):
        raise SpecError(f"provider must be an execution provider's name such as 'cpu', not {provider!r}")
    return provider
