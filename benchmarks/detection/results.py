"""What every tool said of every case: kept between runs, asked for anew where the case or the plugin changed."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from typing import Any

from benchmarks.detection.case import Case
from benchmarks.detection.exporting import BUILD, open_case
from benchmarks.detection.lookup import digest, find, part_of, plugin_digest
from benchmarks.detection.plugin_runner import run_plugin
from benchmarks.detection.rivals import RIVALS, Answer, ask

PLUGIN_TOOLS = ("plugin", "plugin-explicit")
TOOLS = (*PLUGIN_TOOLS, *RIVALS)
STORE = BUILD / "results.json"
#: Cases a process of its own is asked about before it is replaced.
CASES_PER_PROCESS = 8


def _stored() -> dict[str, dict[str, Any]]:
    known: dict[str, dict[str, Any]] = json.loads(STORE.read_text(encoding="utf-8")) if STORE.exists() else {}
    return known


class Results:
    """Case and tool -> answer, in a JSON file under ``build/``; several processes may add to it.

    Args:
        fresh: tools whose answers are forgotten.
        stale: take the answers of an older state of the plugin too.
    """

    def __init__(self, *, fresh: Iterable[str] = (), stale: bool = False) -> None:
        forgotten = set(fresh)
        self.stale = stale
        self._known = {key: value for key, value in _stored().items() if value["tool"] not in forgotten}
        self._new: dict[str, dict[str, Any]] = {}

    def get(self, case: Case, tool: str) -> dict[str, Any] | None:
        """The answer, unless the case (or the plugin, for its own) has changed since."""
        key = f"{case.name}|{tool}"
        found = self._new.get(key) or self._known.get(key)
        if found is None:
            return None
        holds = found["of"] == self._of(case, tool) or (self.stale and found["of"].startswith(digest(case)))
        return found if holds else None

    def put(self, case: Case, tool: str, answer: dict[str, Any]) -> None:
        """Keep an answer."""
        self._new[f"{case.name}|{tool}"] = {**answer, "tool": tool, "of": self._of(case, tool)}

    def save(self) -> None:
        """Add what is new to the file, which is written whole or not at all."""
        STORE.parent.mkdir(parents=True, exist_ok=True)
        part = STORE.with_suffix(f".{os.getpid()}")
        part.write_text(json.dumps(_stored() | self._new, indent=0), encoding="utf-8")
        part.replace(STORE)

    @staticmethod
    def _of(case: Case, tool: str) -> str:
        return digest(case) + (plugin_digest() if tool in PLUGIN_TOOLS else "")


def run(cases: Sequence[Case], tools: Sequence[str], results: Results, say: Callable[[str], None] = print) -> None:
    """Ask every tool about every case that it has not answered yet."""
    for tool in tools:
        if tool in PLUGIN_TOOLS:
            missing = [case for case in cases if results.get(case, tool) is None]
            by_name = {case.name: case for case in missing}
            for record in run_plugin(missing, explicit=tool == "plugin-explicit"):
                results.put(by_name[record.name], tool, record.to_json())
                say(f"{tool:16} {record.outcome:12} {record.total:6.1f} s {record.name} {record.note[:90]}")
                results.save()
    rivals = [tool for tool in tools if tool in RIVALS]
    order = sorted(cases, key=lambda case: (case.framework, part_of(case), _host(case), case.name))
    missing = {case.name: [tool for tool in rivals if results.get(case, tool) is None] for case in order}
    by_name = {case.name: case for case in order}
    for name, answers in _asked_apart({name: tools for name, tools in missing.items() if tools}):
        for tool, answer in answers.items():
            results.put(by_name[name], tool, answer.to_json())
            say(f"{tool:20} {answer.outcome:6} {answer.seconds or 0:6.2f} s {name} {answer.note[:90]}")
        results.save()


def _asked_apart(missing: Mapping[str, Sequence[str]]) -> Iterator[tuple[str, dict[str, Answer]]]:
    """Ask about each case in a process that is replaced after a few: 300 models in one process fill any memory."""
    waiting = list(missing.items())
    while waiting:
        with ProcessPoolExecutor(1, mp_context=get_context("spawn"), max_tasks_per_child=CASES_PER_PROCESS) as pool:
            try:
                while waiting:
                    name, tools = waiting[0]
                    yield name, pool.submit(_ask_all, name, tools).result()
                    waiting.pop(0)
            except BrokenProcessPool:  # killed by a crash or for its memory
                name, tools = waiting.pop(0)
                yield name, dict.fromkeys(tools, Answer("error", "the process died"))


def _ask_all(name: str, tools: Sequence[str]) -> dict[str, Answer]:
    try:
        subject = open_case(find(name))
    except Exception as error:
        return {tool: Answer("error", f"broken case: {type(error).__name__}: {error}"[:200]) for tool in tools}
    return {tool: ask(tool, subject) for tool in tools}


def _host(case: Case) -> str:
    return case.name.split("__")[1] if part_of(case) == "mutants" else ""
