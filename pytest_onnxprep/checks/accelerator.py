"""What ONNX Runtime's own mobile checker says of an accelerator (NNAPI, Core ML) and a model."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pytest_onnxprep.spec.target import ACCELERATORS

#: The checker's own words, for people.
_WORDS = {"YES": "useful", "MAYBE": "may be useful", "NO": "of no use"}


@dataclass(frozen=True)
class Estimate:
    """How much of a model an accelerator takes.

    Args:
        use: ``useful``, ``may be useful`` or ``of no use``: the checker's judgement.
        supported: nodes it takes, of the optimised graph.
        nodes: nodes there are.
        partitions: pieces these come in; each costs a way there and back.
        lacking: operators it does not have.
        fixed: the same if all sizes were fixed; None where that is no question.
    """

    use: str
    supported: int
    nodes: int
    partitions: int
    lacking: tuple[str, ...]
    fixed: Estimate | None = None

    def __str__(self) -> str:
        pieces = f"{self.partitions} partition{'s' * (self.partitions != 1)}"
        text = f"takes {self.supported} of {self.nodes} nodes in {pieces}: {self.use}"
        if self.lacking:
            text += f"; it lacks {', '.join(self.lacking[:6])}{', ...' * (len(self.lacking) > 6)}"
        return f"{text}; with fixed sizes it {self.fixed}" if self.fixed else text


def estimate(path: Path, accelerator: str) -> Estimate:
    """Ask the checker; operators' types decide, its further conditions (2-D Conv only, ...) are not looked into.

    Raises:
        Exception: whatever ONNX Runtime's tools raise; they are no stable interface.
    """
    from onnxruntime.tools.mobile_helpers import usability_checker as checker
    from onnxruntime.tools.onnx_model_utils import ModelProtoWithShapeInfo, optimize_model

    with tempfile.TemporaryDirectory(prefix="onnxprep-mobile-") as folder:
        optimised = Path(folder) / "model.onnx"
        optimize_model(path, optimised, use_external_initializers=True)
        holder = ModelProtoWithShapeInfo(optimised)
        model = holder.model_with_shape_info
        dynamic = any(
            not dim.HasField("dim_value") for value in model.graph.input for dim in value.type.tensor_type.shape.dim
        )

        def ask(require_fixed: bool) -> Estimate:
            if accelerator == "nnapi":
                found = checker.check_nnapi_partitions(model, require_fixed)
            else:
                found = checker.check_coreml_partitions(model, require_fixed, ACCELERATORS[accelerator])
            return _read(found)

        asked = ask(True)
        return replace(asked, fixed=ask(False)) if dynamic and asked.use != _WORDS["YES"] else asked


def _read(found: Any) -> Estimate:
    return Estimate(
        _WORDS[found.suitability().name],
        found.num_supported_nodes,
        found.num_nodes,
        found.num_partitions,
        tuple(sorted(name.removeprefix("ai.onnx:").replace(":", ".") for name in found.unsupported_ops)),
    )
