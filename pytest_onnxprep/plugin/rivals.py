"""What a latency item can be compared with: baselines, other variants, files."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_onnxprep.checks.rivals import Rivals
from pytest_onnxprep.errors import Finding, OnnxPrepError
from pytest_onnxprep.plugin.engine import Engine, Prepared
from pytest_onnxprep.plugin.options import option
from pytest_onnxprep.report.environment import environment

if TYPE_CHECKING:
    import pytest

    from pytest_onnxprep.artifacts.onnx_model import OnnxModel
    from pytest_onnxprep.plugin.items import CheckItem


def rivals_of(item: CheckItem, engine: Engine, prepared: Prepared) -> Rivals:
    """Everything the comparisons of an item may ask for."""
    cell = item.cell
    variants = {variant.id: variant for variant in cell.request.variants}

    def export(name: str) -> OnnxModel:
        try:
            return engine.export(prepared, cell.export, variants[name], item.path.parent)
        except Finding as finding:
            raise OnnxPrepError(
                f"latency_budget(against={name!r}): that variant has no valid export: {finding.result.summary}"
            ) from None

    return Rivals(
        key=baseline_key(item),
        variant=cell.variant.id,
        base=item.path.parent,
        export=export,
        load=_folder(item.config, "baseline"),
        save=_folder(item.config, "save-baseline"),
        environment=environment,
    )


def baseline_key(item: CheckItem) -> str:
    """``tests/test_a.py::TestNet::test_net[resnet-dynamo-opset20]``: test, parameters and variant, nothing else.

    Not the node id: that goes on with check and sizes, and pytest-xdist may append its group to it.
    """
    test = f"{item.parent.nodeid if item.parent else ''}::{item.originalname}"
    cell = re.escape(item.cell.id)
    # pytest numbers ids that repeat; user parameters may stand on either side.
    parameters = re.sub(rf"(^|-){cell}\d*(?=-|$)", rf"\g<1>{item.cell.variant.id}", item.callspec.id, count=1)
    return f"{test}[{parameters}]"


def _folder(config: pytest.Config, name: str) -> Path | None:
    """Seen from where pytest was started; an ini key from the root of the project."""
    given = option(config, name)
    if not given:
        return None
    is_ini = config.getoption(f"onnxprep_{name.replace('-', '_')}", default=None) is None
    return (config.rootpath if is_ini else config.invocation_params.dir) / Path(given).expanduser()
