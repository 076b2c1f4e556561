"""``torch.onnx.export(dynamo=False)``: the TorchScript tracer. Opset 7 to 23; what it cannot see it freezes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from pytest_onnxprep.exporters.job import ExportJob
from pytest_onnxprep.exporters.torch_common import RESERVED, example_tensors, flat_module


def export(job: ExportJob) -> None:
    """Write ``job.path``. Raises whatever torch raises; the caller turns it into an `ExportFailed`."""
    import torch

    options = job.options_for(torch.onnx.export, RESERVED)
    axes = {name: axes for name, axes in job.dynamic_axes().items() if axes}
    for name, spec in (job.signature.outputs or {}).items():
        if spec is not None:
            axes[name] = {axis: str(dim) for axis, dim in enumerate(spec.shape) if not dim.is_static}
    module, examples = flat_module(job), example_tensors(job)
    with torch.no_grad(), _without_fast_path():
        if job.source.unsuited():
            # The exporter's own tracer cannot enter a ScriptModule below the top; torch.jit.trace can, and keeps its
            # branches and loops.
            trace: Any = torch.jit.trace
            module = trace(module, examples, check_trace=False, strict=False)
        torch.onnx.export(
            module,
            examples,
            str(job.path),
            dynamo=False,
            input_names=list(job.signature.inputs),
            output_names=job.output_names,
            dynamic_axes=axes,
            opset_version=job.variant.opset,
            **_defaults(job) | options,
        )


def _defaults(job: ExportJob) -> dict[str, Any]:
    import torch

    found: dict[str, Any] = {}
    if _trains(job.source.model):
        found["training"] = torch.onnx.TrainingMode.PRESERVE
    if not job.signature.inputs:  # an output folded to a constant loses the name it was given
        found["do_constant_folding"] = False
    return found


def _trains(module: Any) -> bool:
    """Whether a part of the model was left in train mode: torch would switch all of it to eval for the trace."""
    return any(child.training for child in module.modules())


@contextmanager
def _without_fast_path() -> Iterator[None]:
    """Trace attention layer by layer: in eval mode without gradients torch fuses it into operators ONNX has not."""
    import torch

    enabled = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(enabled)
