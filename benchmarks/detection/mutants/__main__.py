"""Choose the mutants: `python -m benchmarks.detection.mutants [--per-kind N] [--kinds NAME ...]`.

Every kind is tried on the hosts in an order of its own until it gave as many mutants as asked for. A mutant that no
input tells from the original is excluded: over a grid of sizes and many kinds of values, large ones included, it stays
within a few times the rounding that the sound export itself shows against the reference (in float64 where it has one).
"""

from __future__ import annotations

import argparse
import hashlib
import json
import time
from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx

from benchmarks.detection.exporting import Subject, open_case, run_session
from benchmarks.detection.judge import FAR, eps, is_float
from benchmarks.detection.mutants import KINDS, neighbours
from benchmarks.detection.mutants.apply import SELECTED, Mutant, selection
from benchmarks.detection.mutants.hosts import HOSTS, in_zoo
from benchmarks.detection.values import Draw, draws, make

SIZES = 40
MOST_HOSTS = 6
#: Seeds per host; two equivalent mutants end the search there.
SEEDS = 5
#: What rounding explains: multiples of the sound export's own error here, of its usual error, and of the spacing.
OF_SOUND, OF_USUAL, OF_SPACING = 16, 8, 32


@dataclass
class Seen:
    """One input, what the reference says of it, and what error of each output rounding explains."""

    draw: Draw
    feeds: dict[str, np.ndarray]
    expected: list[np.ndarray]
    allowed: list[float]


class Host:
    """A host with its model built and its answers to all inputs."""

    def __init__(self, name: str) -> None:
        self.subject: Subject = open_case(HOSTS[name])
        self.proto = onnx.load(str(self.subject.sound_path))
        signature = self.subject.signature
        self.traced = make(signature, Draw(signature.trace_sizes(), "plain", 0))
        self.seen = self._answers()

    def _answers(self) -> list[Seen]:
        subject, found = self.subject, []
        for draw in draws(subject.signature, sizes=SIZES):
            feeds = make(subject.signature, draw)
            narrow = subject.reference(feeds)
            if narrow is None:
                continue
            wide = subject.reference64(feeds) or narrow
            sound = run_session(subject.sound_session, feeds)
            found.append((draw, feeds, wide, [_error(w, s) for w, s in zip(wide, sound, strict=True)]))
        count = len(found[0][2])
        usual = [float(np.median([errors[i] / _scale(wide[i]) for _, _, wide, errors in found])) for i in range(count)]
        return [
            Seen(
                draw,
                feeds,
                wide,
                [
                    max(OF_SOUND * errors[i], (OF_USUAL * usual[i] + OF_SPACING * 1.2e-7) * _scale(wide[i]))
                    for i in range(count)
                ],
            )
            for draw, feeds, wide, errors in found
        ]

    def weigh(self, session: Any) -> tuple[float, Draw, int]:
        """The worst error by what rounding explains, the draw that showed it, and how many draws showed one."""
        worst, at, shown = 0.0, self.seen[0].draw, 0
        for seen in self.seen:
            ratio = _ratio(session, seen)
            shown += ratio > FAR
            # Of those that show it beyond doubt, the first, which is the plainest.
            if ratio > worst and worst <= FAR:
                worst, at = ratio, seen.draw
        return worst, at, shown


def _ratio(session: Any, seen: Seen) -> float:
    try:
        actual = run_session(session, seen.feeds)
    except Exception:  # ONNX Runtime refuses what the reference takes
        return float("inf")
    ratios = []
    for want, got, allowed in zip(seen.expected, actual, seen.allowed, strict=True):
        if want.shape != got.shape:
            return float("inf")
        if want.size:
            ratios.append(_error(want, got) / max(allowed, 1e-30))
    return max(ratios, default=0.0)


def _error(want: np.ndarray, got: np.ndarray) -> float:
    if want.shape != got.shape or not want.size:
        return float("inf") if want.shape != got.shape else 0.0
    if not is_float(want.dtype):
        return float("inf") if (want != got).any() else 0.0
    with np.errstate(invalid="ignore"):
        difference = np.abs(want.astype(np.float64) - got.astype(np.float64))
    same = (want == got) | (np.isnan(want) & np.isnan(got))
    return float(np.where(same, 0.0, np.where(np.isnan(difference), np.inf, difference)).max())


def _scale(array: np.ndarray) -> float:
    finite = np.abs(array[np.isfinite(array)]) if is_float(array.dtype) else np.ones(1)
    return max(float(finite.max()) if finite.size else 1.0, eps(np.dtype(np.float32)))


class Hosts:
    """Hosts, built when first asked for."""

    def __init__(self) -> None:
        self._made: dict[str, Host] = {}
        self.used: Counter[str] = Counter()

    def __getitem__(self, name: str) -> Host:
        if name not in self._made:
            started = time.monotonic()
            self._made[name] = Host(name)
            print(f"  host {name}: {len(self._made[name].seen)} inputs, {time.monotonic() - started:.1f} s", flush=True)
        return self._made[name]


def _chance(kind: str, host: str) -> bytes:
    return hashlib.blake2b(f"{kind} {host}".encode()).digest()


def choose(kind: str, hosts: Hosts, wanted: int) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The mutants of one kind, and those that were excluded."""
    import onnxruntime

    chosen: list[dict[str, Any]] = []
    excluded: list[dict[str, Any]] = []
    # The zoo's models first, those with the fewest mutants so far before the others.
    names = sorted(HOSTS, key=lambda name: (not in_zoo(name), hosts.used[name], _chance(kind, name)))
    tried = 0
    for name in names:
        if len(chosen) >= wanted or tried >= MOST_HOSTS:
            break
        equivalent = 0
        for seed in range(SEEDS):
            if equivalent >= 2:
                break
            proto = onnx.ModelProto()
            proto.CopyFrom(hosts[name].proto)
            mutant = Mutant(kind, name, seed)
            try:
                applied = mutant.apply(proto)
                if applied is None:
                    break
                del proto.graph.value_info[:]
                onnx.checker.check_model(proto)
                options = onnxruntime.SessionOptions()
                options.log_severity_level = 4
                options.intra_op_num_threads = 1
                session = onnxruntime.InferenceSession(proto.SerializeToString(), options)
                run_session(session, hosts[name].traced)
            except Exception as error:  # no file that anybody would come to test
                print(f"  {mutant.name}: {type(error).__name__} {str(error).splitlines()[0][:120]}", flush=True)
                continue
            tried += 1
            ratio, draw, shown = hosts[name].weigh(session)
            around = sorted(neighbours(proto, applied[1]) - {applied[1]})
            record = {"kind": kind, "host": name, "seed": seed, "node": applied[1]}
            inputs = len(hosts[name].seen)
            if ratio > FAR:
                times = "refused" if ratio == float("inf") else round(ratio, 1)
                record |= {"around": around, "witness": draw.to_json(), "beyond_rounding": times}
                chosen.append({**record, "shown_by": f"{shown}/{inputs}"})
                hosts.used[name] += 1
                break
            equivalent += 1
            reason = f"at most {ratio:.2g} times what rounding explains, over {inputs} inputs"
            excluded.append({**record, "reason": reason})
    return chosen, excluded


def main() -> int:
    """Choose, and write `selected.json`."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--per-kind", type=int, default=1)
    parser.add_argument("--kinds", nargs="*", default=None, help="choose these anew, keep the others")
    given = parser.parse_args()
    old = selection() if given.kinds else {"mutants": [], "excluded": []}
    kinds = given.kinds or list(KINDS)
    kept = {part: [record for record in old[part] if record["kind"] not in kinds] for part in old}
    hosts = Hosts()
    hosts.used.update(record["host"] for record in kept["mutants"])
    for kind in kinds:
        chosen, excluded = choose(kind, hosts, given.per_kind)
        kept["mutants"] += chosen
        kept["excluded"] += excluded
        shown = ", ".join(f"{m['host']} ({m['shown_by']})" for m in chosen) or "none"
        print(f"{kind}: {shown}; {len(excluded)} excluded", flush=True)
        order = {known: index for index, known in enumerate(KINDS)}
        for part in kept.values():
            part.sort(key=lambda record: (order.get(record["kind"], -1), record["host"], record["seed"]))
        lines = {part: ",\n  ".join(json.dumps(record) for record in records) for part, records in kept.items()}
        text = ",\n".join(f' "{part}": [\n  {body}\n ]' for part, body in lines.items())
        SELECTED.write_text("{\n" + text + "\n}\n", encoding="utf-8")
    realised = {m["kind"] for m in kept["mutants"]}
    models = {m["host"].rpartition("_")[0] for m in kept["mutants"]}
    print(
        f"{len(kept['mutants'])} mutants of {len(realised)} kinds on {len(models)} models, "
        f"{len(kept['excluded'])} excluded as equivalent"
    )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
