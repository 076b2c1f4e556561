"""Which fixed sizes to export: chosen from the sizes that were observed, by measured latency and padding waste."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pytest_onnxprep.artifacts.onnx_model import OnnxModel
from pytest_onnxprep.errors import SpecError
from pytest_onnxprep.fuzz.example import Maker
from pytest_onnxprep.runtime.latency import measure
from pytest_onnxprep.stats.partition import partition

#: Sizes whose latency is measured; of more observed ones, some are rounded up.
MOST_MEASURED = 24
#: Another bucket must save this share of the mean latency.
WORTH = 0.02

Sizes = tuple[int, ...]


@dataclass(frozen=True)
class Bucket:
    """One recommended size.

    Args:
        sizes: for ``onnx_export(buckets=[...])``.
        requests: observed inputs that go there.
        p50_ms: what one of them takes.
        waste: share of the elements that are padding, 0..1.
    """

    sizes: Mapping[str, int]
    requests: int
    p50_ms: float
    waste: float


@dataclass(frozen=True)
class Advice:
    """What `advise_buckets` found.

    Args:
        buckets: the recommendation, smallest first.
        mean_ms: latency of a mean request with these buckets.
        exact_ms: the same, had every observed size a file of its own: the least there is.
        waste: share of all elements that are padding.
        considered: number of buckets -> mean latency and waste with as many.
    """

    buckets: tuple[Bucket, ...]
    mean_ms: float
    exact_ms: float
    waste: float
    considered: Mapping[int, tuple[float, float]]

    @property
    def sizes(self) -> list[dict[str, int]]:
        """For ``onnx_export(buckets=advice.sizes)``."""
        return [dict(bucket.sizes) for bucket in self.buckets]

    def table(self) -> str:
        """The recommendation, and what fewer or more buckets would bring."""
        names = list(self.buckets[0].sizes)
        total = sum(bucket.requests for bucket in self.buckets)
        lines = [_row(["bucket", "requests", "share", "p50 ms", "padding"])]
        for bucket in self.buckets:
            sizes = ", ".join(f"{name}={bucket.sizes[name]}" for name in names)
            share = f"{bucket.requests / total:.0%}"
            lines.append(_row([sizes, str(bucket.requests), share, f"{bucket.p50_ms:.3g}", f"{bucket.waste:.0%}"]))
        lines.append(_row(["all", str(total), "100%", f"{self.mean_ms:.3g}", f"{self.waste:.0%}"]))
        lines += ["", _row(["buckets", "", "", "mean ms", "padding"])]
        for count, (mean, waste) in self.considered.items():
            chosen = " <-" if count == len(self.buckets) else ""
            lines.append(_row([f"{count}{chosen}", "", "", f"{mean:.3g}", f"{waste:.0%}"]))
        lines.append(_row(["one per size", "", "", f"{self.exact_ms:.3g}", "0%"]))
        return "\n".join(line.rstrip() for line in lines)

    def __str__(self) -> str:
        return self.table()


def _row(cells: list[str]) -> str:
    return f"{cells[0]:<24}" + "".join(f"{cell:>10}" for cell in cells[1:])


def advise_buckets(
    model: OnnxModel,
    observed: Iterable[int | Mapping[str, int]],
    *,
    max_buckets: int = 4,
    threads: int = 1,
    provider: str | None = None,
    seconds: float = 0.15,
) -> Advice:
    """Recommend buckets for the sizes a model meets in use.

    The latency of every candidate is measured on the model's own file, run at that size. Of one dim the best buckets
    are found exactly (dynamic programming); of several, the pair that costs least is merged until few enough are left.
    The smallest number of buckets is taken that another one would not improve by 2 %.

    Args:
        model: from ``onnx_exporter`` or ``onnx_model``, with dynamic shapes.
        observed: one entry per request: a size, where the model has one dim that matters, or dim -> size. Dims that are
            left out are run at their smallest size, and stay dynamic.
        max_buckets: files at most.
        threads: intra-op threads of ONNX Runtime.
        provider: execution provider.
        seconds: of measuring per candidate.

    Raises:
        SpecError: nothing was observed, or a size that the model does not take.
    """
    if isinstance(max_buckets, bool) or not isinstance(max_buckets, int) or max_buckets < 1:
        raise SpecError(f"max_buckets must be a whole number >= 1, not {max_buckets!r}")
    names, found = _read(model, list(observed))
    maker = Maker(model.signature)
    session = model.open_session(provider=provider, threads=threads)
    measured: dict[Sizes, float] = {}

    def latency(sizes: Sizes) -> float:
        """Milliseconds; measured once."""
        if sizes not in measured:
            at = model.signature.check_sizes(dict(zip(names, sizes, strict=True)), "observed")
            feeds = maker.feeds(maker.plain(at))
            figures = measure(session, feeds, budgets={}, threads=threads, max_time_s=seconds).figures
            measured[sizes] = float(figures["p50_ms"])
        return measured[sizes]

    solve = _one_dim if len(names) == 1 else _several_dims
    plans = solve(found, latency, max_buckets)
    exact = sum(count * latency(sizes) for sizes, count in _rounded(found).items()) / sum(found.values())
    considered = {len(plan): _score(plan, found, latency) for plan in plans}
    best = min(mean for mean, _ in considered.values())
    chosen = next(plan for plan in plans if considered[len(plan)][0] <= (1 + WORTH) * best)
    mean, waste = considered[len(chosen)]
    buckets = tuple(
        Bucket(dict(zip(names, sizes, strict=True)), sum(own.values()), latency(sizes), _waste({sizes: own}))
        for sizes, own in _assigned(chosen, found).items()
    )
    return Advice(buckets, mean, min(exact, mean), waste, considered)


def _read(model: OnnxModel, observed: Sequence[Any]) -> tuple[list[str], Counter[Sizes]]:
    """The dims in question, and how often each combination of sizes was seen."""
    dims = model.signature.dims
    if not observed:
        raise SpecError("observed: at least one size is needed, as in [17, 33, 12] or [{'h': 480, 'w': 640}]")
    if all(isinstance(entry, int) and not isinstance(entry, bool) for entry in observed):
        if len(dims) != 1:
            raise SpecError(
                f"observed: the model has the dims {', '.join(dims)}; give dim -> size, as in [{{'seq': 17}}]"
            )
        observed = [dict.fromkeys(dims, entry) for entry in observed]
    if not all(isinstance(entry, Mapping) for entry in observed):
        raise SpecError(f"observed: each entry must be a size or dim -> size, not {observed[0]!r}")
    names = list(observed[0])
    for entry in observed:
        if list(entry) != names and set(entry) != set(names):
            raise SpecError(f"observed: all entries must name the same dims, not {observed[0]} and {entry}")
        model.signature.check_sizes(entry, "observed")
    return names, Counter(tuple(entry[name] for name in names) for entry in observed)


def _one_dim(found: Counter[Sizes], latency: Any, most: int) -> list[list[Sizes]]:
    """The best plans of 1, 2, ... buckets."""
    rounded = sorted(_rounded(found).items())
    sizes, counts = [size for size, _ in rounded], [float(count) for _, count in rounded]
    costs = [latency(size) for size in sizes]
    for index in range(len(costs) - 2, -1, -1):  # noise only adds time: what is larger cannot be faster
        costs[index] = min(costs[index], costs[index + 1])
    plans = [[sizes[end] for end in partition(counts, costs, groups)[1]] for groups in range(1, most + 1)]
    return _distinct(plans)


def _several_dims(found: Counter[Sizes], latency: Any, most: int) -> list[list[Sizes]]:
    """Merge the two buckets whose union costs least, again and again."""
    groups = dict(_rounded(found))
    plans = []
    while groups:
        if len(groups) <= most:
            plans.append(sorted(groups, key=math.prod))
        if len(groups) == 1:
            break
        _, one, other = min(
            ((_price(groups, a, b, latency), a, b) for a in groups for b in groups if a < b), key=lambda found: found[0]
        )
        union = tuple(map(max, zip(one, other, strict=True)))
        count = groups.pop(one) + groups.pop(other)
        groups[union] = groups.get(union, 0) + count
    return _distinct(plans[::-1])


def _price(groups: Mapping[Sizes, int], one: Sizes, other: Sizes, latency: Any) -> float:
    """What merging costs; by the number of elements, scaled to the latency measured: not every union is run."""
    union = tuple(map(max, zip(one, other, strict=True)))
    rate = latency(one) / math.prod(one), latency(other) / math.prod(other)
    merged = max(rate) * math.prod(union) if union not in (one, other) else latency(union)
    apart = groups[one] * latency(one) + groups[other] * latency(other)
    return float((groups[one] + groups[other]) * merged - apart)


def _rounded(found: Counter[Sizes]) -> dict[Sizes, int]:
    """At most as many sizes as are measured: others are rounded up to the next of these, dim by dim."""
    if len(found) <= MOST_MEASURED:
        return dict(found)
    width = len(next(iter(found)))
    per_dim = MOST_MEASURED if width == 1 else max(2, round(MOST_MEASURED ** (1 / width)))
    marks = []
    for axis in range(width):
        seen = sorted({sizes[axis] for sizes in found})
        marks.append([seen[math.ceil((step + 1) * len(seen) / per_dim) - 1] for step in range(min(per_dim, len(seen)))])
    made: Counter[Sizes] = Counter()
    for sizes, count in found.items():
        up = (next(mark for mark in marks[axis] if mark >= size) for axis, size in enumerate(sizes))
        made[tuple(up)] += count
    return dict(made)


def _distinct(plans: list[list[Sizes]]) -> list[list[Sizes]]:
    """One plan per number of buckets, fewest first."""
    return [plan for _, plan in sorted({len(plan): plan for plan in plans}.items())]


def _assigned(plan: Sequence[Sizes], found: Counter[Sizes]) -> dict[Sizes, Counter[Sizes]]:
    """Bucket -> the observed sizes that go there: the smallest that holds them."""
    ordered = sorted(plan, key=math.prod)
    made: dict[Sizes, Counter[Sizes]] = {bucket: Counter() for bucket in ordered}
    for sizes, count in found.items():
        fitting = next(b for b in ordered if all(size <= limit for size, limit in zip(sizes, b, strict=True)))
        made[fitting][sizes] += count
    return {bucket: own for bucket, own in made.items() if own}


def _score(plan: Sequence[Sizes], found: Counter[Sizes], latency: Any) -> tuple[float, float]:
    """Mean latency and share of padding."""
    assigned = _assigned(plan, found)
    total = sum(sum(own.values()) * latency(bucket) for bucket, own in assigned.items())
    return total / sum(found.values()), _waste(assigned)


def _waste(assigned: Mapping[Sizes, Counter[Sizes]]) -> float:
    """Share of the elements that are padding."""
    used = sum(count * math.prod(sizes) for own in assigned.values() for sizes, count in own.items())
    run = sum(sum(own.values()) * math.prod(bucket) for bucket, own in assigned.items())
    return 1 - used / run if run else 0.0
