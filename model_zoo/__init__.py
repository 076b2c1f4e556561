"""Real architectures in every framework, built offline from fixed seeds; the suites and the benchmarks test on them.

`MODELS` lists them and `get(name)` finds one; a factory may also be imported by name:

    from model_zoo.torch_vision import build_resnet18

Importing this package imports no framework: a factory does so when called. Each factory is pure: the same weights every
time, the caller's random state left alone, the model ready for inference. All code is ours under Apache-2.0; no weights
are downloaded. The Transformers models are that library's own classes, Apache-2.0 too.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from model_zoo.jax_models import build_attention, build_eqx_gru, build_nnx_cnn
from model_zoo.keras_models import build_bilstm, build_cnn, build_two_tower
from model_zoo.model_files import (
    build_program_file,
    build_saved_model,
    build_script_file,
    build_tflite_cnn,
    build_tflite_cnn_int8,
)
from model_zoo.tf_functions import build_power_iteration
from model_zoo.torch_text import build_lstm_tagger
from model_zoo.torch_vision import build_mobilenet_v2, build_resnet18, build_unet, build_vit
from model_zoo.transformers_models import build_bert_classifier, build_distilbert_classifier, build_gpt2

__all__ = ["MODELS", "ZooModel", "get"]


@dataclass(frozen=True, slots=True)
class ZooModel:
    """One model of the zoo: what it is, where it comes from, how to build it."""

    name: str
    task: str
    framework: str
    """The suite folder it is tested in: `torch`, `keras`, `tensorflow`, `tflite`, `jax` or `transformers`."""
    licence: str
    """SPDX identifier of the code that defines the architecture."""
    source_paper: str
    build: Callable[[], Any]
    """Zero-argument factory; imports its framework when called."""


def _model(name: str, task: str, framework: str, build: Callable[[], Any], source_paper: str) -> ZooModel:
    return ZooModel(name, task, framework, "Apache-2.0", source_paper, build)


MODELS: dict[str, ZooModel] = {
    model.name: model
    for model in (
        _model("resnet18", "image-classification", "torch", build_resnet18, "He et al. 2015, arXiv:1512.03385"),
        _model(
            "mobilenet_v2", "image-classification", "torch", build_mobilenet_v2, "Sandler et al. 2018, arXiv:1801.04381"
        ),
        _model("unet", "image-segmentation", "torch", build_unet, "Ronneberger et al. 2015, arXiv:1505.04597"),
        _model("vit", "image-classification", "torch", build_vit, "Dosovitskiy et al. 2020, arXiv:2010.11929"),
        _model(
            "lstm_tagger", "token-classification", "torch", build_lstm_tagger, "Huang et al. 2015, arXiv:1508.01991"
        ),
        _model("cnn", "image-classification", "keras", build_cnn, "Simonyan and Zisserman 2014, arXiv:1409.1556"),
        _model("two_tower", "retrieval", "keras", build_two_tower, "Huang et al. 2013, CIKM; Yi et al. 2019, RecSys"),
        _model("bilstm", "text-classification", "keras", build_bilstm, "Schuster and Paliwal 1997, IEEE TSP 45(11)"),
        _model(
            "power_iteration",
            "linear-algebra",
            "tensorflow",
            build_power_iteration,
            "von Mises and Pollaczek-Geiringer 1929, ZAMM 9; Miyato et al. 2018, arXiv:1802.05957",
        ),
        _model(
            "two_tower_saved",
            "retrieval",
            "tensorflow",
            build_saved_model,
            "Huang et al. 2013, CIKM; Yi et al. 2019, RecSys",
        ),
        _model("tflite_cnn", "image-classification", "tflite", build_tflite_cnn, "Simonyan and Zisserman 2014"),
        _model(
            "tflite_cnn_int8",
            "image-classification",
            "tflite",
            build_tflite_cnn_int8,
            "Jacob et al. 2017, arXiv:1712.05877",
        ),
        _model("script_file", "image-classification", "torch", build_script_file, "Sandler et al. 2018"),
        _model("program_file", "image-classification", "torch", build_program_file, "He et al. 2015"),
        _model("attention", "sequence-modelling", "jax", build_attention, "Vaswani et al. 2017, arXiv:1706.03762"),
        _model(
            "nnx_cnn", "image-classification", "jax", build_nnx_cnn, "LeCun et al. 1998, Proceedings of the IEEE 86(11)"
        ),
        _model("eqx_gru", "sequence-classification", "jax", build_eqx_gru, "Cho et al. 2014, arXiv:1406.1078"),
        _model(
            "bert", "text-classification", "transformers", build_bert_classifier, "Devlin et al. 2018, arXiv:1810.04805"
        ),
        _model(
            "distilbert",
            "text-classification",
            "transformers",
            build_distilbert_classifier,
            "Sanh et al. 2019, arXiv:1910.01108",
        ),
        _model("gpt2", "text-generation", "transformers", build_gpt2, "Radford et al. 2019, OpenAI technical report"),
    )
}


def get(name: str) -> ZooModel:
    """Return the model called `name`.

    Args:
        name: A key of `MODELS`.

    Raises:
        KeyError: There is no such model; the message lists those there are.
    """
    try:
        return MODELS[name]
    except KeyError:
        raise KeyError(f"no model {name!r} in the zoo; there are: {', '.join(sorted(MODELS))}") from None
