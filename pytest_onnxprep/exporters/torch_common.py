"""What both torch exporters share: a flat, positional view of the user's module."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from pytest_onnxprep.exporters.job import EXTERNAL_DATA_BYTES, ExportJob
from pytest_onnxprep.sources.torch_module import TorchSource, from_numpy, is_script
from pytest_onnxprep.sources.transformers_model import TransformersSource

if TYPE_CHECKING:
    import torch

#: Arguments of ``torch.onnx.export`` that the marks decide.
RESERVED = frozenset(
    {
        "model",
        "args",
        "f",
        "kwargs",
        "input_names",
        "output_names",
        "opset_version",
        "dynamic_axes",
        "dynamic_shapes",
        "dynamo",
        "external_data",
        "verbose",
    }
)


def flat_module(job: ExportJob) -> torch.nn.Module:
    """Wrap the model: tensors in, in the order of the signature, and the named output tensors out as a tuple."""
    import torch

    source = cast(TorchSource, job.source)
    signature = job.signature
    if isinstance(source, TransformersSource):
        source.prepare(signature)

    class Flat(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = source.model
            self.training = source.model.training

        def forward(self, *tensors: Any) -> Any:
            outputs = source.call(dict(zip(signature.inputs, tensors, strict=True)))
            return tuple(tensor for _, tensor in source.named(outputs, signature))

    return Flat()


def holds_script(module: torch.nn.Module) -> bool:
    """Whether a module or a part of it is TorchScript."""
    return any(is_script(part) for part in module.modules())


def example_tensors(job: ExportJob) -> tuple[Any, ...]:
    """The example feeds as tensors on the model's device."""
    device = cast(TorchSource, job.source).device()
    return tuple(from_numpy(job.feeds[name], device) for name in job.signature.inputs)


def needs_external_data(job: ExportJob) -> bool:
    """Whether the weights are too large for one protobuf file."""
    tensors = [*job.source.model.parameters(), *job.source.model.buffers()]
    size: int = sum(tensor.numel() * tensor.element_size() for tensor in tensors)
    return size > EXTERNAL_DATA_BYTES
