"""What an exporter took for granted of sizes: read from guards, held against the declared ranges, found again later."""

from __future__ import annotations

import pytest

from pytest_onnxprep.exporters.narrowing import Assumption, breached, holds, names_of, narrowed, words
from pytest_onnxprep.spec.dims import Dim
from pytest_onnxprep.spec.signature import Signature
from pytest_onnxprep.spec.tensor import TensorSpec


def signature(**dims: Dim) -> Signature:
    """One input with these dims."""
    return Signature({"x": TensorSpec("float32", tuple(dims))}, dims=dims)


@pytest.mark.parametrize(
    ("guard", "sizes", "expected"),
    [
        ("b <= 4", {"b": 4}, True),
        ("b <= 4", {"b": 5}, False),
        ("h % 8 == 0 and w != 1", {"h": 16, "w": 1}, False),
        ("a == b or b == 1", {"a": 3, "b": 1}, True),
        ("(3*b) == (2*(b // 2)*((3*b) // (2*(b // 2))))", {"b": 3}, False),
        ("t == min(16, t)", {"t": 17}, False),
        ("math.trunc(torch.sym_float(h) / 2.0) > 1", {"h": 4}, True),
        ("(past + seq) >= 2", {"past": 0, "seq": 1}, False),
        ("not -b < 2 <= 3", {"b": 5}, False),
    ],
)
def test_guard_is_evaluated_at_sizes(guard, sizes, expected):
    """The arithmetic that torch prints is understood."""
    assert holds(guard, sizes) is expected
    assert names_of(guard) == set(sizes)


@pytest.mark.parametrize("guard", ["c > 1", "__import__('os').getcwd() == b", "b.bit_length() > 1", "[b][0]", "'b'"])
def test_anything_but_arithmetic_is_refused(guard):
    """A record out of a cache is data, never code."""
    with pytest.raises(ValueError, match="is no arithmetic over b"):
        holds(guard, {"b": 1})


def test_excluded_sizes_are_the_smallest_and_the_largest():
    """Both ends of what was left out are worth a try, and the record says what was declared."""
    (record,) = narrowed(
        [Assumption("b <= 4", "/m/net.py", 12, "forward", "if x.shape[0] > 4:")], signature(b=Dim(2, 100))
    )

    assert record["try"] == [{"b": 5}, {"b": 100}]
    assert record["declared"] == {"b": "2..100"}
    assert not record["minor"]
    assert words(record) == "b <= 4 (net.py:12 in forward: if x.shape[0] > 4:)"


@pytest.mark.parametrize(
    ("guard", "dims"),
    [
        ("b <= 100", {"b": Dim(2, 100)}),
        ("h % 8 == 0", {"h": Dim(8, 64, multiple_of=8)}),
        ("b != 1", {"b": Dim(2, 8)}),
        ("other <= 4", {"b": Dim(2, 8)}),
        ("f(b) <= 4", {"b": Dim(2, 8)}),
        ("b //", {"b": Dim(2, 8)}),
        ("2 % (b // 9) == 1", {"b": Dim(2, 8)}),
    ],
)
def test_what_leaves_out_no_declared_size_is_not_told(guard, dims):
    """Assumptions the declaration meets, and those nobody can evaluate, are no news."""
    assert narrowed([Assumption(guard)], signature(**dims)) == []


def test_ends_of_a_long_range_are_looked_at():
    """A range of a million sizes is searched at its ends and about the numbers of the guard."""
    (low,) = narrowed([Assumption("n != 500000")], signature(n=Dim(1, 1_000_000)))
    (high,) = narrowed([Assumption("n < 1000000")], signature(n=Dim(1, 1_000_000)))
    (two,) = narrowed(
        [Assumption("h == w")], signature(h=Dim(32, 4096, multiple_of=32), w=Dim(32, 4096, multiple_of=32))
    )

    assert low["try"] == [{"n": 500_000}]
    assert high["try"] == [{"n": 1_000_000}]
    assert two["try"] == [{"h": 32, "w": 64}, {"h": 4096, "w": 4064}]


def test_sizes_zero_and_one_alone_are_minor():
    """Tracers specialise 0 and 1 everywhere: told last, and marked."""
    records = narrowed(
        [Assumption("b != 1", "a.py", 1), Assumption("b <= 4", "b.py", 2), Assumption("b > 0", "c.py", 3)],
        signature(b=Dim(0, 8)),
    )

    assert [(record["guard"], record["minor"]) for record in records] == [
        ("b <= 4", False),
        ("b != 1", True),
        ("b > 0", True),
    ]


def test_assumptions_of_one_line_are_one():
    """A line that makes several is told of once; an alternative keeps its brackets."""
    (record,) = narrowed(
        [Assumption("h % 3 == 0", "a.py", 1), Assumption("h == 9 or h == 3", "a.py", 1)], signature(h=Dim(3, 12))
    )

    assert record["guard"] == "h % 3 == 0 and (h == 9 or h == 3)"
    assert record["try"] == [{"h": 4}, {"h": 12}]


def test_failing_size_finds_its_assumption():
    """A failure outside an assumption has it as its reason; one inside has not."""
    provenance = {
        "narrowed": narrowed(
            [Assumption("b <= 4"), Assumption("h == w")], signature(b=Dim(1, 8), h=Dim(1, 8), w=Dim(1, 8))
        )
    }

    assert [record["guard"] for record in breached(provenance, {"b": 6, "h": 2, "w": 2})] == ["b <= 4 and h == w"]
    assert breached(provenance, {"b": 4, "h": 2, "w": 2}) == []
    assert breached(provenance, {}) == []
    assert breached({}, {"b": 6}) == []


def test_assumption_without_a_place_and_a_long_one():
    """The exporter's own assumptions say so, and a monster is cut."""
    record = {"guard": "b * " * 60 + "b > 1", "file": ""}

    assert words(record).endswith("… (in the exporter's own code)")
    assert len(words(record)) < 160
