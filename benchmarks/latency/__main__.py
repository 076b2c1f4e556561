"""`python -m benchmarks.latency`: the latency bars, in fresh processes; about eleven minutes, `--quick` about one.

Every process plays the duets and holds the budgets with the defaults of the mark. Beside that stands what
pytest-benchmark's ``--benchmark-compare-fail=mean:5%`` and a plain numpy p95 say of the same models, from the same
processes.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.latency.child import FEEDS
from benchmarks.latency.load import CROWDS, neighbours
from benchmarks.latency.models import LAYERS, SLOWER, chain
from benchmarks.sampler import race
from benchmarks.table import Result
from pytest_onnxprep.runtime.session import make_session

PROCESSES = 60
QUICK = 6
#: The margin of the duets; the default budget's headroom.
MARGIN = 0.03
HEADROOM = 1.25
LOOP_S = 0.3
#: Quiet processes from whose p95 the absolute budget is made.
CALIBRATION = 5

Found = dict[str, Any]
Say = Callable[[str], None]


def measure(processes: int = PROCESSES, say: Say = lambda _: None) -> list[Result]:
    """Run everything and judge the bars."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        files = {"A": chain(folder / "a.onnx", LAYERS), "A again": chain(folder / "again.onnx", LAYERS)}
        files |= {name: chain(folder / f"{layers}.onnx", layers) for name, layers in SLOWER.items()}
        budget_ms, base_ms = _budget(files["A"])
        files["x1.5 of the budget"] = chain(folder / "slow.onnx", round(LAYERS * 1.5 * HEADROOM))
        files["1 ms"] = chain(folder / "ms.onnx", max(1, round(LAYERS / base_ms)))
        say(f"p95 budget {budget_ms:.3f} ms, fastest call {base_ms:.3f} ms")
        quiet = [_child(_quiet_steps(files, budget_ms, i), say, f"quiet {i + 1}/{processes}") for i in range(processes)]
        loaded = []
        for index in range(processes):
            crowd = CROWDS[index * len(CROWDS) // processes]
            with neighbours(crowd):
                what = f"{'+'.join(crowd)} {index + 1}/{processes}"
                loaded.append(_child(_loaded_steps(files, budget_ms, index), say, what))
        timed = [_child(_timed_steps(files), say, "1 ms") for _ in range(max(2, processes // 6))]
        overhead = _overhead(files["A"])
    return [_duets(quiet, loaded), _budgets(quiet, loaded, budget_ms, base_ms), _time(timed), overhead]


def _quiet_steps(files: dict[str, Path], budget_ms: float, index: int) -> Found:
    """What nobody can miss is done by every third process only."""
    steps = _steps(files, budget_ms)
    if index % 3:
        del steps["x1.5"], steps["slower"]
    return steps


def _loaded_steps(files: dict[str, Path], budget_ms: float, index: int) -> Found:
    """Under load a verdict takes its three or four seconds: beside what has to hold in all of them, one of three."""
    steps = _steps(files, budget_ms)
    others = (("+5 %", "loop +5 %"), ("x1.5", "slower"), ("over",))
    for name in (
        "+20 %",
        "loop +20 %",
        *(name for turn, names in enumerate(others) if turn != index % 3 for name in names),
    ):
        del steps[name]
    return steps


def _steps(files: dict[str, Path], budget_ms: float) -> Found:
    """Everything there is to be done in a process."""
    held = {"within": "A", "over": "x1.5 of the budget", "slower": "x1.5"}
    return {
        **{f"loop {name}": _loop(files[name]) for name in ("A", "+5 %", "+20 %")},
        "A/A": _play(files, "A again"),
        **{name: _play(files, name) for name in SLOWER},
        **{name: {"do": "hold", "model": str(files[file]), "p95_ms": budget_ms} for name, file in held.items()},
    }


def _loop(file: Path) -> Found:
    return {"do": "loop", "model": str(file), "seconds": LOOP_S}


def _timed_steps(files: dict[str, Path]) -> Found:
    file = str(files["1 ms"])
    return {"verdict": {"do": "play", "model": file, "rival": file, "limit": 1 + MARGIN}}


def _play(files: dict[str, Path], model: str) -> Found:
    return {"do": "play", "model": str(files[model]), "rival": str(files["A"]), "limit": 1 + MARGIN}


def _budget(file: Path) -> tuple[float, float]:
    """The budget with its headroom over the typical p95, and the fastest call, in milliseconds."""
    found = [_child({"loop": _loop(file)})["loop"] for _ in range(CALIBRATION)]
    p95 = sorted(one["p95_s"] for one in found)[1]  # a neighbour's burst must not make the budget generous
    return 1e3 * HEADROOM * p95, 1e3 * min(one["min_s"] for one in found)


def _child(steps: Found, say: Say = lambda _: None, what: str = "") -> Found:
    """Run the steps in a process of their own."""
    command = [sys.executable, "-m", "benchmarks.latency.child", json.dumps(steps)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"the measuring process failed:\n{done.stderr}")
    found: Found = json.loads(done.stdout)
    if what:
        rulings = ", ".join(f"{name} {one['ruling']}" for name, one in found.items() if "ruling" in one)
        say(f"{what}: {rulings}")
    return found


def _duets(quiet: Sequence[Found], loaded: Sequence[Found]) -> Result:
    """The duet, with what the mean and the p95 of another process would have said."""
    rows = [["model against A", "machine", "should", f"duet, margin {MARGIN:.0%}", "`mean:5%`", "numpy p95, 5 %"]]
    for name, should in (("A/A", "pass"), ("+5 %", "fail"), ("+20 %", "fail"), ("x1.5", "fail")):
        for machine, found in (("quiet", quiet), ("hogs", loaded)):
            if any(name in one for one in found):
                others = [_stored(found, name, figure) for figure in ("mean_s", "p95_s")]
                rows.append([name, machine, should, _count(found, name), *others])
    false = [_rulings(found, "A/A")["fail"] for found in (quiet, loaded)]
    seen = {name: _rulings(quiet, name)["fail"] for name in ("+5 %", "+20 %")}
    passed, n = _rulings(loaded, "+5 %")["pass"], len(quiet)
    caught = _rulings([*quiet, *loaded], "x1.5")
    bars = [
        false == [0, 0],
        seen["+5 %"] >= 0.95 * n,
        passed == 0,
        seen["+20 %"] == n,
        caught["fail"] == caught.total(),
    ]
    return Result(
        "Latency regression: the duet",
        "A/A fails in none, quiet or with 1-3 hogs; +5 % fails in 95 % of quiet processes and never passes with hogs; "
        "+20 % fails in all quiet ones, x1.5 always",
        f"A/A fails {false[0]} of {n} quiet and {false[1]} of {len(loaded)} with hogs; +5 % fails {seen['+5 %']} of {n}"
        f" quiet, passes {passed} of {_rulings(loaded, '+5 %').total()} with hogs; +20 % fails {seen['+20 %']} of {n}; "
        f"x1.5 fails {caught['fail']} of {caught.total()}",
        all(bars),
        rows,
        "Fresh processes, fail/pass/inconclusive. `mean:5%` and numpy p95: share of ordered pairs of processes in "
        f"which the model's figure in one ({LOOP_S} s of calls) is more than 5 % above A's in the other, as with a "
        f"stored baseline. How noisy it was, median of processes: quiet {_noise(quiet)}; hogs {_noise(loaded)}.",
    )


def _budgets(quiet: Sequence[Found], loaded: Sequence[Found], budget_ms: float, base_ms: float) -> Result:
    """The absolute budget, with a plain p95 beside it."""
    rows = [["model", "machine", "should", "latency_budget(p95_ms)", "numpy p95", "numpy p95 of 100 calls"]]
    for machine, found in (("quiet", quiet), ("hogs", loaded)):
        naive = [f"fails {_over(found, figure, budget_ms)} of {len(found)}" for figure in ("p95_s", "p95_of_100_s")]
        rows.append([f"A, {HEADROOM - 1:.0%} headroom", machine, "pass", _count(found, "within"), *naive])
        rows.append(["1.5 times the budget", machine, "fail", _count(found, "over"), "", ""])
        rows.append(
            [f"1.5 times A, {1.5 / HEADROOM:.1f} times the budget", machine, "fail", _count(found, "slower"), "", ""]
        )
    times = budget_ms / HEADROOM / base_ms
    warning = (
        f" The machine was busy then (p95 was {times:.0f} times the fastest call): repeat it." if times > 2 else ""
    )
    false = _rulings(quiet, "within")["fail"], _rulings(loaded, "within")["fail"]
    caught = [_rulings(found, "over") for found in (quiet, loaded)]
    return Result(
        "Absolute latency budget",
        "with 25 % headroom never fails falsely, quiet or with 1-3 hogs; 1.5 times the budget always fails",
        f"false fails {false[0]} of {len(quiet)} quiet, {false[1]} of {len(loaded)} with hogs; "
        "1.5 times the budget fails " + " and ".join(f"{one['fail']} of {one.total()}" for one in caught),
        false == (0, 0) and all(one["fail"] == one.total() for one in caught),
        rows,
        f"Fresh processes, fail/pass/inconclusive. Budget: {budget_ms:.3f} ms, {HEADROOM} times the second lowest p95 "
        f"of {CALIBRATION} processes before.{warning}",
    )


def _time(timed: Sequence[Found]) -> Result:
    """Seconds to a verdict on a model of a millisecond."""
    taken = sorted(one["verdict"]["elapsed_s"] for one in timed)
    rulings = Counter(one["verdict"]["ruling"] for one in timed)
    return Result(
        "Time to a duet's verdict",
        "under 1.5 s for a model of 1 ms",
        f"{taken[-1]:.2f} s at worst, {statistics.median(taken):.2f} s median",
        taken[-1] < 1.5,
        [
            ["processes", "fastest s", "median s", "slowest s"],
            [str(len(taken)), *(f"{s:.2f}" for s in (taken[0], statistics.median(taken), taken[-1]))],
        ],
        f"Sessions, warm-up and sampling included. Verdicts: {dict(rulings)}.",
    )


def _overhead(file: Path) -> Result:
    """The sampler against a bare loop in one process."""
    bare, ours = race(make_session(file, threads=1), ["y"], FEEDS)
    return Result(
        "The sampler",
        "adds under 1 % to p50",
        f"{ours / bare - 1:+.2%}",
        ours / bare - 1 < 0.01,
        [["p50 bare loop us", "p50 sampler us"], [f"{bare * 1e6:.2f}", f"{ours * 1e6:.2f}"]],
        "Alternating rounds in one process, garbage collector off in both.",
    )


def _rulings(found: Sequence[Found], name: str) -> Counter[str]:
    return Counter(one[name]["ruling"] for one in found if name in one)


def _count(found: Sequence[Found], name: str) -> str:
    rulings = _rulings(found, name)
    return "/".join(str(rulings[ruling]) for ruling in ("fail", "pass", "inconclusive"))


def _stored(found: Sequence[Found], name: str, figure: str) -> str:
    """Share of comparisons with a figure stored by another process that fail at 5 %."""
    looped = f"loop {'A' if name == 'A/A' else name}"
    before = [one["loop A"][figure] for one in found]
    now = [one[looped][figure] if looped in one else None for one in found]
    fails = [
        after > 1.05 * stored
        for i, after in enumerate(now)
        for j, stored in enumerate(before)
        if after is not None and i != j
    ]
    return f"fails {np.mean(fails):.0%}" if fails else "-"


def _over(found: Sequence[Found], figure: str, budget_ms: float) -> int:
    return sum(one["loop A"][figure] * 1e3 > budget_ms for one in found)


def _noise(found: Sequence[Found]) -> str:
    """So that a reader sees whether quiet was quiet."""
    preempted, stretch = (statistics.median(one["A/A"][name] for one in found) for name in ("preempted", "stretch"))
    return f"{preempted:.1%} of calls preempted, bursts took {stretch:.2f} times as long as their work"


def main() -> int:
    """Parse the command line, run, print the tables."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.latency", description=__doc__)
    parser.add_argument(
        "--processes", type=int, default=PROCESSES, help=f"fresh processes a line (default {PROCESSES})"
    )
    parser.add_argument(
        "--quick", action="store_true", help=f"{QUICK} processes a line: does it run, does it look sane"
    )
    asked = parser.parse_args()
    processes = QUICK if asked.quick else max(2, asked.processes)
    results = measure(processes, lambda line: print(line, file=sys.stderr, flush=True))
    print("\n\n".join(result.markdown() for result in results))
    return 0 if all(result.met for result in results) else 1


if __name__ == "__main__":
    raise SystemExit(main())
