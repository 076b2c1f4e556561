"""``torch.onnx.export(dynamo=False)``: the TorchScript tracer. Opset 7 to 23; what it cannot see it freezes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

from pytest_onnxprep.errors import ExporterError
from pytest_onnxprep.exporters.job import ExportJob
from pytest_onnxprep.exporters.torch_common import RESERVED, example_tensors, flat_module, holds_script

#: Options of the plugin's own: translations that torch would want registered for the whole process.
OURS = frozenset({"symbolics"})


def export(job: ExportJob) -> None:
    """Write ``job.path``. Raises whatever torch raises; the caller turns it into an `ExportFailed`."""
    import torch

    options = job.options_for(torch.onnx.export, RESERVED, OURS)
    axes = {name: axes for name, axes in job.dynamic_axes().items() if axes}
    for name, spec in (job.signature.outputs or {}).items():
        if spec is not None:
            axes[name] = {axis: str(dim) for axis, dim in enumerate(spec.shape) if not dim.is_static}
    module, examples = flat_module(job), example_tensors(job)
    with torch.no_grad(), _without_fast_path(), _symbolics(job):
        if holds_script(job.source.model):
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


@contextmanager
def _symbolics(job: ExportJob) -> Iterator[None]:
    """Register the user's translations for this export only: torch keeps what is registered for every later one."""
    import torch

    onnx: Any = torch.onnx
    symbolics = job.variant.options.get("symbolics", {})
    if not isinstance(symbolics, Mapping) or not all(
        isinstance(name, str) and "::" in name and callable(function) for name, function in symbolics.items()
    ):
        raise ExporterError(
            "option 'symbolics' of torchscript must map operators to functions of the graph and their inputs, as in "
            f"{{'mylib::cube': lambda g, x: g.op('Mul', x, x)}}, not {symbolics!r}"
        )
    from torch.onnx._internal.torchscript_exporter.registration import registry

    opset = job.variant.opset or 1
    before = registry.all_functions()
    try:
        for name, function in symbolics.items():
            onnx.register_custom_op_symbolic(name, function, opset)
        yield
    finally:
        for name in symbolics:
            onnx.unregister_custom_op_symbolic(name, opset)
        # torch keeps an empty entry, and fails over it at the next export; a symbolic that calls `g.onnxscript_op` has
        # registered another one, whose function would be put into every later file with a node of its name. What has
        # functions of torch's own was imported meanwhile.
        with suppress(AttributeError, KeyError):
            for name in registry.all_functions() - before:
                if not registry._registry[name]._functions._base:
                    del registry._registry[name]


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
