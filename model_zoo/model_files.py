"""Models of the zoo as files: what a colleague, a server or a device hands over.

A factory returns a path, or what was read from one. The files are written once per process, below a folder that goes
with it.
"""

from __future__ import annotations

import atexit
import shutil
import tempfile
import warnings
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from model_zoo._tfjs_writer import write_graph_model
from model_zoo.keras_edge import build_kws
from model_zoo.keras_models import build_cnn, build_two_tower
from model_zoo.torch_generative import build_espcn
from model_zoo.torch_signals import build_tcn
from model_zoo.torch_tables import build_tabular_mlp
from model_zoo.torch_vision import build_mobilenet_v2, build_resnet18

if TYPE_CHECKING:
    import torch


@cache
def folder() -> Path:
    """Return the folder of this process, which is removed at its end."""
    path = Path(tempfile.mkdtemp(prefix="onnxprep-zoo-"))
    atexit.register(shutil.rmtree, path, ignore_errors=True)
    return path


def build_tflite_cnn() -> Path:
    """Build the Keras CNN as a TFLite file.

    `image float32[batch, 32, 32, 3]` to `scores float32[batch, 10]`.

    Returns:
        A `.tflite` file.
    """
    return _tflite("cnn.tflite")


def build_tflite_cnn_int8() -> Path:
    """Build the Keras CNN as a TFLite file in integers throughout (Jacob et al. 2017, arXiv:1712.05877).

    `image int8[batch, 32, 32, 3]` to `scores int8[batch, 10]`.

    Returns:
        A `.tflite` file.
    """
    return _tflite("cnn_int8.tflite", weights="int8", ends="int8")


def build_tflite_cnn_uint8() -> Path:
    """Build the Keras CNN as a TFLite file in integers, whose ends are those of a camera.

    `image uint8[batch, 32, 32, 3]` to `scores uint8[batch, 10]`.

    Returns:
        A `.tflite` file.
    """
    return _tflite("cnn_uint8.tflite", weights="int8", ends="uint8")


def build_tflite_cnn_float16() -> Path:
    """Build the Keras CNN as a TFLite file that keeps its weights in half precision.

    `image float32[batch, 32, 32, 3]` to `scores float32[batch, 10]`.

    Returns:
        A `.tflite` file.
    """
    return _tflite("cnn_float16.tflite", weights="float16")


def build_tflite_cnn_dynamic() -> Path:
    """Build the Keras CNN as a TFLite file with weights in steps; activations get theirs when it runs (dynamic range).

    `image float32[batch, 32, 32, 3]` to `scores float32[batch, 10]`.

    Returns:
        A `.tflite` file.
    """
    return _tflite("cnn_dynamic.tflite", weights="dynamic")


@cache
def _tflite(name: str, *, weights: str = "float32", ends: str = "float32") -> Path:
    import keras
    import numpy as np
    import tensorflow as tf

    image = keras.Input((32, 32, 3), name="image")
    model = keras.Model({"image": image}, {"scores": build_cnn()(image)})
    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    if weights != "float32":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if weights == "float16":
        converter.target_spec.supported_types = [tf.float16]
    if weights == "int8":
        rng = np.random.default_rng(1712)
        pictures = [[rng.uniform(-3, 3, (1, 32, 32, 3)).astype("float32")] for _ in range(16)]
        converter.representative_dataset = lambda: iter(pictures)
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.inference_input_type = converter.inference_output_type = tf.as_dtype(ends)
    path = folder() / name
    path.write_bytes(converter.convert())
    return path


@cache
def build_tfjs_kws() -> Path:
    """Build the keyword spotter as a TensorFlow.js graph model, which a web page would load.

    `mfcc float32[batch, frames, 40]` to `keywords float32[batch, 12]`.

    Returns:
        A `model.json`, its weights beside it.
    """
    import tensorflow as tf

    model = build_kws()
    mfcc = tf.TensorSpec((None, None, 40), tf.float32, name="mfcc")
    spotter = tf.function(lambda mfcc: {"keywords": model(mfcc, training=False)}, input_signature=[mfcc])
    return write_graph_model(spotter.get_concrete_function(), folder() / "kws_web")


@cache
def build_script_file() -> Path:
    """Build MobileNetV2, scripted, as a TorchScript file.

    Returns:
        A `.pt` file.
    """
    import torch

    path = folder() / "mobilenet_v2.pt"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that torch.jit is deprecated is known; its files are around
        torch.jit.save(torch.jit.script(build_mobilenet_v2()), str(path))
    return path


@cache
def build_program_file() -> Path:
    """Build ResNet-18 as a program of torch.export, for batches of 1 to 8 pictures of 64x64.

    Returns:
        A `.pt2` file.
    """
    import torch

    path = folder() / "resnet18.pt2"
    batch = torch.export.Dim("batch", min=1, max=8)
    example = (torch.zeros(2, 3, 64, 64),)
    torch.export.save(torch.export.export(build_resnet18(), example, dynamic_shapes=({0: batch},)), str(path))
    return path


@cache
def build_saved_model() -> str:
    """Build the two towers as a SavedModel of two signatures that take and give tensors of the same names.

    `serving_default` gives `match` as a probability, `stars` from a worst to a best mark, which are variables.

    Returns:
        `folder#stars`: the folder and the signature that is meant.
    """
    import tensorflow as tf

    model = build_two_tower()
    specs = {tensor.name: tf.TensorSpec(tensor.shape, tensor.dtype, name=tensor.name) for tensor in model.inputs}
    holder = tf.Module()
    holder.model, holder.worst, holder.best = model, tf.Variable(1.0), tf.Variable(5.0)

    @tf.function(input_signature=[specs], autograph=False)
    def score(inputs: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        return model(inputs, training=False)

    @tf.function(input_signature=[specs], autograph=False)
    def stars(inputs: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        outputs = model(inputs, training=False)
        return {**outputs, "match": holder.worst + (holder.best - holder.worst) * outputs["match"]}

    holder.score, holder.stars = score, stars
    path = folder() / "two_tower"
    tf.saved_model.save(holder, str(path), signatures={"serving_default": score, "stars": stars})
    return f"{path}#stars"


def build_checkpoint() -> torch.nn.Module:
    """Build the tabular perceptron from a file of weights alone, as a training run leaves them.

    `numbers float32[batch, 12]`, `weekday int64[batch]`, `hour int64[batch]` and `day int64[batch]` to
    `logits float32[batch, 3]`.

    Returns:
        The model in eval mode, its weights read by `torch.load(weights_only=True)`.
    """
    import torch

    from model_zoo._torch_seeding import fixed_seed
    from model_zoo.architectures.tabular_mlp import TabularMLP

    with fixed_seed(0):  # what the code draws is overwritten
        model = TabularMLP()
    model.load_state_dict(torch.load(_checkpoint_file(), weights_only=True)["model"])
    return model.eval()


@cache
def _checkpoint_file() -> Path:
    import torch

    path = folder() / "tabular_mlp.pt"
    torch.save({"epoch": 12, "model": build_tabular_mlp().state_dict()}, path)
    return path


@cache
def build_program() -> torch.export.ExportedProgram:
    """Build the temporal convolutional network as a program of torch.export, for 1 to 4 signals of 16 to 96 steps.

    Returns:
        The `ExportedProgram` itself.
    """
    import torch

    sizes = {0: torch.export.Dim("batch", min=1, max=4), 2: torch.export.Dim("time", min=16, max=96)}
    return torch.export.export(build_tcn(), (torch.zeros(2, 4, 32),), dynamic_shapes=(sizes,))


@cache
def build_traced() -> torch.jit.ScriptModule:
    """Build the super-resolution network as the tracer of TorchScript sees it.

    `luma float32[batch, 1, h, w]` to `enlarged float32[batch, 1, 3 * h, 3 * w]`.

    Returns:
        The `ScriptModule` itself.
    """
    import torch

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.jit.trace(build_espcn(), torch.zeros(1, 1, 12, 12))
