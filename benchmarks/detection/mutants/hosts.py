"""The models that are mutated: the zoo's, small sizes, each with one exporter."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from benchmarks.detection.case import Case
from benchmarks.detection.mutants.small_models import build_detector, build_gru_counter, build_keras_pooler
from model_zoo import MODELS
from pytest_onnxprep import Dim, TensorSpec

_TOKENS = {"tokens": TensorSpec("int64", "batch, seq", low=0, high=1000)}
_IMAGE = {"image": TensorSpec("float32", "batch, 3, h, w", low=-3, high=3)}
_TEXT = {
    "input_ids": TensorSpec("int64", "batch, seq", low=0, high=1000),
    "attention_mask": TensorSpec("int64", "batch, seq", values="mask"),
}
_CACHE = {
    f"past_key_values.{layer}.{part}": TensorSpec("float32", "batch, 2, past, 32", low=-2, high=2)
    for layer in range(2)
    for part in ("key", "value")
}
_GPT2 = {
    "input_ids": _TEXT["input_ids"],
    "attention_mask": TensorSpec("int64", "batch, past + seq", values="mask"),
    **_CACHE,
}
_SEQ = {"batch": (1, 4), "seq": (1, 16)}
_SIXTEENS = {"batch": (1, 2), "h": Dim(32, 64, multiple_of=16), "w": Dim(32, 64, multiple_of=16)}
_EVENS = {"batch": (1, 2), "h": Dim(6, 24, multiple_of=2), "w": Dim(6, 24, multiple_of=2)}


def _host(name: str, exporter: str, opset: int, inputs: dict[str, Any], dims: dict[str, Any], **given: Any) -> Case:
    build: Callable[[], Any] = given.pop("build", None) or MODELS[name].build
    framework = given.pop("framework", None) or MODELS[name].framework
    return Case(
        name=f"{name}_{exporter}",
        framework=framework,
        exporter=exporter,
        opset=opset,
        model=build,
        inputs=inputs,
        dims=dims,
        link="",
        mechanism="",
        **{"atol": 1e-5, "rtol": 1e-4} | given,
    )


def _both(name: str, inputs: dict[str, Any], dims: dict[str, Any], **given: Any) -> list[Case]:
    opsets = {"torchscript": given.pop("torchscript", 17), "dynamo": 20}
    return [_host(name, exporter, opset, inputs, dims, **given) for exporter, opset in opsets.items()]


_keras = partial(_host, exporter="tf2onnx", opset=17)

#: Every host by its name.
HOSTS: dict[str, Case] = {
    host.name: host
    for host in (
        *_both("lstm_tagger", _TOKENS, _SEQ),
        *_both("unet", _IMAGE, _SIXTEENS, atol=1e-4),
        *_both("resnet18", _IMAGE, {**_SIXTEENS, "batch": (1, 2)}, atol=1e-4),
        *_both("mobilenet_v2", _IMAGE, _SIXTEENS, atol=1e-4),
        *_both("vit", {"image": TensorSpec("float32", "batch, 3, 96, 96", low=-3, high=3)}, {"batch": (1, 4)}),
        *_both("bert", _TEXT, _SEQ),
        *_both("distilbert", _TEXT, _SEQ),
        *_both("gpt2", _GPT2, {"batch": (1, 4), "seq": (1, 8), "past": (1, 16)}, torchscript=18),
        _keras(
            "cnn",
            inputs={"image": TensorSpec("float32", "batch, h, w, 3", low=-3, high=3)},
            dims={"batch": (1, 4), "h": (8, 32), "w": (8, 32)},
        ),
        _keras(
            "two_tower",
            inputs={"history": TensorSpec("int32", "batch, events", low=0, high=500), "item": "float32[batch, 16]"},
            dims={"batch": (1, 8), "events": (1, 16)},
        ),
        _keras("bilstm", inputs={"tokens": TensorSpec("int32", "batch, seq", low=0, high=1000)}, dims=_SEQ),
        _keras("power_iteration", inputs={"matrix": "float32[batch, 16, 16]"}, dims={"batch": (1, 8)}),
        *_both("detector", _IMAGE, _EVENS, build=build_detector, framework="torch"),
        *_both(
            "gru_counter",
            {"tokens": TensorSpec("int64", "batch, seq", low=0, high=300)},
            _SEQ,
            build=build_gru_counter,
            framework="torch",
        ),
        _keras(
            "pooler",
            inputs={"image": TensorSpec("float32", "batch, h, w, 3", low=-3, high=3)},
            dims={"batch": (1, 4), "h": (5, 24), "w": (5, 24)},
            build=build_keras_pooler,
            framework="keras",
        ),
    )
}


def in_zoo(host: str) -> bool:
    """Whether a host is one of the zoo's models; the others are taken for what those do not have."""
    return host.rpartition("_")[0] in MODELS
