"""Keras and Transformers models of the zoo as they are kept on disk. Each factory returns a path, or what it read."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from model_zoo.keras_edge import build_churn, build_kws, build_machine_listener
from model_zoo.model_files import folder
from model_zoo.transformers_models import build_distilbert_classifier, build_vit_classifier

if TYPE_CHECKING:
    import keras


@cache
def build_keras_file() -> Path:
    """Build the churn predictor, whose inputs are a dict, as a file of Keras 3.

    Returns:
        A `.keras` file.
    """
    path = folder() / "churn.keras"
    build_churn().save(path)
    return path


@cache
def build_keras_h5() -> Path:
    """Build the keyword spotter as an HDF5 file of Keras 3.

    Returns:
        An `.h5` file.
    """
    path = folder() / "kws.h5"
    build_kws().save(path)
    return path


def build_keras_weights() -> keras.Model:
    """Build the autoencoder, a subclassed model, from a file of weights and its code.

    `frames float32[batch, 64]` to `rebuilt float32[batch, 64]` and `fault float32[batch]`.

    Returns:
        The built `keras.Model`, its weights read from a `.weights.h5` file.
    """
    model = build_machine_listener()
    for weight in model.weights:
        weight.assign(weight * 0)  # whatever the code drew: what is there below came from the file
    model.load_weights(_weights_file())
    return model


@cache
def _weights_file() -> Path:
    path = folder() / "listener.weights.h5"
    build_machine_listener().save_weights(path)
    return path


@cache
def build_pretrained_folder() -> Path:
    """Build the DistilBERT classifier as a folder of `save_pretrained`.

    Returns:
        A folder with `config.json` and `model.safetensors`.
    """
    path = folder() / "distilbert"
    build_distilbert_classifier().save_pretrained(path)
    return path


@cache
def build_config_file() -> Path:
    """Build the config of the ViT classifier alone, as a file: a model of random weights, the same every time.

    Returns:
        A `config.json`.
    """
    config = build_vit_classifier().config
    config.architectures = ["ViTForImageClassification"]
    path = folder() / "vit"
    config.save_pretrained(path)
    return path / "config.json"
