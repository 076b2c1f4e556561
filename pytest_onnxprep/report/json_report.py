"""``--onnxprep-json``: every record, for machines."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from typing import Any

from pytest_onnxprep.report.curves import curves
from pytest_onnxprep.report.figures import plain
from pytest_onnxprep.report.files import write_text
from pytest_onnxprep.report.records import Record

SCHEMA = "onnxprep-report/1"


def write_json(path: str | os.PathLike[str], records: Iterable[Record], environment: Mapping[str, Any]) -> None:
    """Write the report; strictly valid JSON whatever the figures are.

    Infinities and NaN are strings within ``figures`` (``"inf"``, ``"-inf"``, ``"nan"``), null elsewhere.

    Raises:
        OnnxPrepError: the file cannot be written.
    """
    records = list(records)
    report: dict[str, Any] = {
        "schema": SCHEMA,
        "environment": plain(environment),
        "results": [
            {str(key): plain(value, lossless=key == "figures") for key, value in record.items()} for record in records
        ],
    }
    drawn = curves(records)
    if drawn:
        report["curves"] = plain([curve.to_json() for curve in drawn])
    write_text(path, json.dumps(report, indent=1, allow_nan=False) + "\n")
