"""Failed exports of this run: written down by the worker that met one, raised again by the others."""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import uuid
from pathlib import Path
from typing import Any

from pytest_onnxprep.errors import Finding
from pytest_onnxprep.spec.verdict import CheckResult, Verdict


class FailureRecords:
    """One small JSON file per key, in a folder that lives as long as the run.

    A record saves time and nothing else, so a folder that cannot be written or read only costs another export:
    no method raises `OSError`.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def save(self, key: str, finding: Finding) -> None:
        """Write ``finding`` down, unless reading it back would not give an equal one."""
        try:
            text = json.dumps(to_json(finding))
        except (TypeError, ValueError):
            return
        read = from_json(text)
        if type(read) is not type(finding) or read.result != finding.result:
            return
        temporary = self.folder / f"{key}.{uuid.uuid4().hex}.tmp"
        with contextlib.suppress(OSError):
            self.folder.mkdir(parents=True, exist_ok=True)
            temporary.write_text(text, encoding="utf-8")
            os.replace(temporary, self._path(key))

    def load(self, key: str) -> Finding | None:
        """The finding recorded for ``key``, or None."""
        try:
            return from_json(self._path(key).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None

    def _path(self, key: str) -> Path:
        return self.folder / f"{key}.json"


def to_json(finding: Finding) -> dict[str, Any]:
    """A finding as plain data."""
    result = finding.result
    fields = {
        "verdict": result.verdict.value,
        "summary": result.summary,
        "figures": dict(result.figures),
        "details": result.details,
        "sections": [list(section) for section in result.sections],
    }
    return {"class": [type(finding).__module__, type(finding).__qualname__], "result": fields}


def from_json(text: str) -> Finding | None:
    """Rebuild a finding; None when its class is not to be had or does not take a result."""
    try:
        record = json.loads(text)
        module, qualname = record["class"]
        cls = getattr(importlib.import_module(module), qualname)
        fields = record["result"] | {"verdict": Verdict(record["result"]["verdict"])}
        fields["sections"] = tuple((str(title), str(body)) for title, body in fields["sections"])
        finding = cls(CheckResult(**fields))
    except Exception:  # a class of somebody else's: whatever it raises, the export is simply done again
        return None
    return finding if isinstance(finding, Finding) else None
