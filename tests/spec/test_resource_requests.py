"""The arguments of the budgets that are measured in fresh processes."""

from __future__ import annotations

from typing import Any

import pytest

from pytest_onnxprep.spec.errors import SpecError
from pytest_onnxprep.spec.resource_requests import read_memory, read_startup, read_throughput


def test_arguments_become_plain_data() -> None:
    """What was written is what is asked for; what was left out has its default."""
    memory = read_memory(200, at=[{"batch": 1}, {"batch": 8}], model_mb=64, children=5)
    startup = read_startup(first_run_ms=20, threads=2)
    throughput = read_throughput(min_per_s=100, batch="n", sweep=False)

    assert memory.budgets == {"peak_mb": 200.0, "model_mb": 64.0}
    assert memory.at == ({"batch": 1}, {"batch": 8})
    assert (memory.children, memory.threads, memory.provider) == (5, 1, None)
    assert (startup.budgets, startup.at, startup.threads) == ({"first_run_ms": 20.0}, ({},), 2)
    assert (throughput.budgets, throughput.batch, throughput.sweep) == ({"min_per_s": 100.0}, "n", False)


@pytest.mark.parametrize(
    ("read", "arguments", "message"),
    [
        (read_memory, {}, "no budget given; accepted: peak_mb, model_mb, steady_mb"),
        (read_memory, {"peak_mb": "200MB"}, "peak_mb must be a positive number, not '200MB'"),
        (read_memory, {"peak_mb": 1, "children": 4}, r"children must be an odd number in 3\.\.31"),
        (read_memory, {"peak_mb": 1, "children": 1}, "children must be an odd number"),
        (read_memory, {"peak_mb": 1, "threads": 0}, "threads must be a whole number >= 1"),
        (read_memory, {"peak_mb": 1, "provider": 3}, "provider must be an execution provider's name"),
        (read_memory, {"peak_mb": 1, "at": []}, "the list of sizes is empty"),
        (read_startup, {}, "no budget given; accepted: load_ms, first_run_ms"),
        (read_startup, {"load_ms": -1}, "load_ms must be a positive number"),
        (read_startup, {"load_ms": 1, "max_time_s": 0}, "max_time_s must be a positive number"),
        (read_throughput, {}, "no budget given; accepted: min_per_s"),
        (read_throughput, {"min_per_s": 0}, "min_per_s must be a positive number"),
        (read_throughput, {"min_per_s": 1, "batch": 8}, "batch must be the name of the dim that counts items"),
        (read_throughput, {"min_per_s": 1, "sweep": "no"}, "sweep must be True or False"),
    ],
)
def test_malformed_arguments_say_what_is_accepted(read: Any, arguments: dict[str, Any], message: str) -> None:
    """A wrong argument names itself and what is accepted."""
    with pytest.raises(SpecError, match=message):
        read(**arguments)
