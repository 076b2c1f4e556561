"""``torch.onnx.export(dynamo=True)``: torch.export, then the ONNX lowering of onnxscript. Opset 18 and up."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Any, cast

from pytest_onnxprep.exporters.job import ExportJob
from pytest_onnxprep.exporters.shape_guards import guards_watched
from pytest_onnxprep.exporters.torch_common import (
    RESERVED,
    example_tensors,
    flat_module,
    needs_external_data,
)
from pytest_onnxprep.sources.torch_module import TorchSource, is_script


def export(job: ExportJob) -> None:
    """Write ``job.path``. Raises whatever torch raises; the caller turns it into an `ExportFailed`."""
    import torch

    options = job.options_for(torch.onnx.export, RESERVED)
    with torch.no_grad(), rnn_decompositions(), guards_watched(job) as guards:
        program = torch.onnx.export(
            _script_as_graph(job) if is_script(job.source.model) else flat_module(job),
            example_tensors(job),
            str(job.path),
            dynamo=True,
            input_names=list(job.signature.inputs),
            output_names=job.output_names,
            dynamic_shapes=_dynamic_shapes(job),
            opset_version=job.variant.opset,
            external_data=needs_external_data(job),
            verbose=False,
            **options,
        )
        guards.note(program)


def _script_as_graph(job: ExportJob) -> Any:
    """A ScriptModule as a module of torch's own operators, by torch's converter; tensors in, named tensors out."""
    import torch
    from torch._export.converter import TS2EPConverter

    source = cast(TorchSource, job.source)
    names = list(job.signature.inputs)
    arguments = source.positional(dict(zip(names, example_tensors(job), strict=True)))
    graph = TS2EPConverter(source.model, tuple(arguments)).convert().module()

    class Flat(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = graph

        def forward(self, *tensors: Any) -> Any:
            outputs = self.model(*source.positional(dict(zip(names, tensors, strict=True))))
            return tuple(tensor for _, tensor in source.named(outputs, job.signature))

    return Flat()


def _dynamic_shapes(job: ExportJob) -> Any:
    """One nested tuple, because the flat module's forward takes ``*tensors``.

    A plain string names the dim. torch wants identifiers, so an expression gets a made-up name here; the declared
    text is put into the file afterwards.
    """
    shapes = tuple(
        {axis: text if text.isidentifier() else _made_up(text) for axis, text in axes.items()}
        for axes in job.dynamic_axes().values()
    )
    return (shapes,) if any(shapes) else None


def _made_up(text: str) -> str:
    return "expr_" + "".join(character if character.isalnum() else "_" for character in text)


@contextmanager
def rnn_decompositions() -> Iterator[None]:
    """Keep LSTM and GRU dynamic over time.

    torch.export (2.13) registers its while_loop decomposition of recurrent layers only while capturing, and a stale
    dispatch entry of an earlier export survives it: the second export in a process then fixes the sequence length.
    The names are private to torch, so their absence is no error.
    """
    with ExitStack() as stack:
        with suppress(ImportError, AttributeError):
            import torch
            from torch.export import _patches

            for operator in (torch.ops.aten.lstm.input, torch.ops.aten.gru.input):
                operator._dispatch_cache.clear()
            stack.enter_context(_patches.register_lstm_while_loop_decomposition())
            stack.enter_context(_patches.register_gru_while_loop_decomposition())
        yield
