"""What Keras 2 wrote of a model, in the words of Keras 3, which reads some of it wrongly and refuses other parts.

Keras 3 has other defaults, and arguments that Keras 2 wrote down are gone; `modernised` says what a layer meant. Seen
on files of Keras 2.0 to 2.13 and of tf_keras 2.21.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

#: The name under which a file's ``hard_sigmoid`` finds `hard_sigmoid`: Keras 3 has another function of that name.
HARD_SIGMOID = "onnxprep_keras2_hard_sigmoid"

_RECURRENT = frozenset({"LSTM", "GRU", "SimpleRNN", "ConvLSTM1D", "ConvLSTM2D", "ConvLSTM3D"})
_MODELS = frozenset({"Sequential", "Model", "Functional"})
_WRAPPED = ("layer", "backward_layer", "cell", "cells")
#: Arguments that Keras 3 takes no more -> what they have to be, for a layer to mean the same without them.
_ANY = object()
_SPLIT = ("Depthwise", "Separable")
_OF_SEPARABLE = ("kernel_initializer", "kernel_regularizer", "kernel_constraint")
_GONE: tuple[tuple[frozenset[str], dict[str, Any]], ...] = (
    (
        frozenset({*(f"Conv{n}DTranspose" for n in (1, 2, 3)), *(f"{k}Conv{n}D" for k in _SPLIT for n in (1, 2))}),
        {"groups": 1},
    ),
    (frozenset({"SeparableConv1D", "SeparableConv2D"}), dict.fromkeys(_OF_SEPARABLE, _ANY)),
    (frozenset(f"SpatialDropout{n}D" for n in (1, 2, 3)), {"noise_shape": None, "trainable": _ANY}),
    (_RECURRENT | {"RNN"}, {"time_major": False}),
    (
        frozenset({"MultiHeadAttention"}),
        {**dict.fromkeys(("query_shape", "key_shape", "value_shape"), _ANY), "softmax_robust_masking": False},
    ),
)


def modernised(config: dict[str, Any]) -> dict[str, Any]:
    """A copy of a model's config, ``{"class_name", "config"}``, for Keras 3.

    What is not known here stays, for Keras to refuse.
    """
    made = copy.deepcopy(config)
    _model(made)
    return made


def hard_sigmoid(x: Any) -> Any:
    """Keras 2's: a fifth of the input and a half, between 0 and 1. Keras 3 takes a sixth."""
    from keras import ops

    return ops.clip(0.2 * x + 0.5, 0.0, 1.0)


def _model(model: dict[str, Any]) -> None:
    config = model.get("config")
    if model.get("class_name") == "Sequential" and isinstance(config, list):  # before Keras 2.2
        config = model["config"] = {"name": "sequential", "layers": config}
    layers = config.get("layers") if isinstance(config, dict) else None
    if not isinstance(config, dict) or not isinstance(layers, list) or not all(isinstance(one, dict) for one in layers):
        return
    for layer in layers:
        _layer(layer)
    if model["class_name"] == "Sequential" and layers and layers[0].get("class_name") != "InputLayer":
        shape, dtype = _input_of(layers[0])
        if shape is not None:
            name = f"{layers[0]['config'].get('name', 'model')}_input"
            given = {"batch_shape": shape, "dtype": dtype, "name": name}
            layers.insert(0, {"class_name": "InputLayer", "config": given})
    _references(config, layers)
    for layer in layers:
        if layer.get("class_name") not in ("InputLayer", *_MODELS) and isinstance(layer.get("config"), dict):
            layer["config"].pop("batch_input_shape", None)


def _references(config: dict[str, Any], layers: list[dict[str, Any]]) -> None:
    """Name layers as Keras 3 allows, and count calls of models inside from 0: Keras 2 counted their own as well."""
    names = {layer.get("name") or _own_name(layer) for layer in layers}
    renamed = {name: name.replace("/", "_") for name in names if isinstance(name, str) and "/" in name}
    renamed = {name: new for name, new in renamed.items() if new not in names}
    found = [reference for reference in _triples(config) if reference[0] in names]
    inside = {layer.get("name") for layer in layers if layer.get("class_name") in _MODELS}
    counted = {name for name in inside if all(reference[1] > 0 for reference in found if reference[0] == name)}
    for reference in found:
        reference[1] -= reference[0] in counted
        reference[0] = renamed.get(reference[0], reference[0])
    for layer in layers:
        for held in (layer, layer.get("config")):
            if isinstance(held, dict) and held.get("name") in renamed:
                held["name"] = renamed[held["name"]]


def _own_name(layer: dict[str, Any]) -> Any:
    config = layer.get("config")
    return config.get("name") if isinstance(config, dict) else None


def _triples(config: dict[str, Any]) -> Iterator[list[Any]]:
    """What refers to a tensor of a functional model: ``[layer, call, output]``, and keyword arguments after it."""
    waiting: list[Any] = [config.get("input_layers"), config.get("output_layers")]
    waiting += [layer.get("inbound_nodes") for layer in config["layers"]]
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            waiting += value.values()
        elif isinstance(value, list):
            if len(value) >= 3 and isinstance(value[0], str) and type(value[1]) is type(value[2]) is int:
                yield value
                waiting += value[3:]
            else:
                waiting += value


def _input_of(layer: dict[str, Any]) -> tuple[Any, str]:
    """The shape and dtype of what a model's first layer takes, which Keras 2 wrote down with that layer."""
    config = layer.get("config")
    while isinstance(config, dict):
        if config.get("batch_input_shape") is not None:
            dtype = config.get("dtype")
            if not isinstance(dtype, str) or (layer.get("class_name") == "Embedding" and dtype != "int32"):
                dtype = "float32"  # which holds the numbers of words, unlike float16
            return config.pop("batch_input_shape"), dtype
        inner = config.get("layer")
        config = inner.get("config") if isinstance(inner, dict) else None
    return None, "float32"


def _layer(layer: Any) -> None:
    if not isinstance(layer, dict) or not isinstance(layer.get("config"), (dict, list)):
        return
    kind, config = layer.get("class_name"), layer["config"]
    layer.pop("build_config", None)  # a layer is built where it is called
    if kind in _MODELS:
        _model(layer)
        return
    if not isinstance(config, dict):
        return
    for kinds, arguments in _GONE:
        for name, meant in arguments.items() if kind in kinds else ():
            if name in config and (meant is _ANY or config[name] == meant):
                del config[name]
    if kind in ("GRU", "GRUCell"):
        config.setdefault("reset_after", False)
    if kind in ("BatchNormalization", "Softmax") and isinstance(config.get("axis"), list) and len(config["axis"]) == 1:
        config["axis"] = config["axis"][0]
    for name in ("activation", "recurrent_activation"):
        if config.get(name) == "hard_sigmoid":
            config[name] = {
                "module": "builtins",
                "class_name": "function",
                "config": HARD_SIGMOID,
                "registered_name": HARD_SIGMOID,
            }
    for name in _WRAPPED:
        held = config.get(name)
        for inner in held if isinstance(held, list) else [held]:
            if isinstance(inner, dict) and "class_name" in inner:
                _layer(inner)
                if inner["class_name"] not in _MODELS and "registered_name" not in inner:
                    inner.update(module="keras.layers", registered_name=None)
