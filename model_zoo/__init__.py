"""Real architectures in every framework, built offline from fixed seeds; the suites and the benchmarks test on them.

`MODELS` lists them and `get(name)` finds one; a factory may also be imported by name:

    from model_zoo.torch_vision import build_resnet18

Importing this package imports no framework: a factory does so when called. Each factory is pure: the same weights every
time, the caller's random state left alone, the model ready for inference. All code is ours under Apache-2.0; no weights
are downloaded. The Transformers models are that library's own classes, Apache-2.0 too.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from model_zoo.jax_models import build_attention, build_eqx_gru, build_nnx_cnn
from model_zoo.jax_networks import build_jax_mlp, build_linen_cnn, build_mlp_mixer, build_scan_lstm
from model_zoo.jax_positioning import build_geodetic
from model_zoo.keras_edge import (
    build_attention_classifier,
    build_churn,
    build_gru_forecaster,
    build_kws,
    build_machine_listener,
    build_mobilenet_v1,
    build_road_segmenter,
)
from model_zoo.keras_files import (
    build_config_file,
    build_keras_file,
    build_keras_h5,
    build_keras_weights,
    build_pretrained_folder,
)
from model_zoo.keras_models import build_bilstm, build_cnn, build_two_tower
from model_zoo.model_files import (
    build_checkpoint,
    build_program,
    build_program_file,
    build_saved_model,
    build_script_file,
    build_tfjs_kws,
    build_tflite_cnn,
    build_tflite_cnn_dynamic,
    build_tflite_cnn_float16,
    build_tflite_cnn_int8,
    build_tflite_cnn_uint8,
    build_traced,
)
from model_zoo.tf_functions import (
    build_image_preprocessing,
    build_kalman,
    build_orthogonaliser,
    build_power_iteration,
    build_signal_filter,
)
from model_zoo.torch_generative import build_dcgan, build_espcn, build_vae_decoder
from model_zoo.torch_signals import build_stream_enhancer, build_tcn, build_wavenet
from model_zoo.torch_tables import build_dlrm, build_gcn, build_tabular_mlp
from model_zoo.torch_text import build_gru_encoder, build_lstm_tagger, build_text_encoder
from model_zoo.torch_vision import (
    build_densenet,
    build_efficientnet,
    build_mobilenet_v2,
    build_pointnet,
    build_resnet18,
    build_ssd,
    build_unet,
    build_vit,
)
from model_zoo.transformers_models import (
    build_bert_classifier,
    build_bert_qa,
    build_clip,
    build_distilbert_classifier,
    build_gpt2,
    build_llama,
    build_qwen2,
    build_roberta_tagger,
    build_segformer,
    build_t5,
    build_vit_classifier,
    build_whisper,
)

__all__ = ["MODELS", "ZooModel", "get", "suites_of"]


@dataclass(frozen=True, slots=True)
class ZooModel:
    """One model of the zoo: what it is, where it comes from, how to build it."""

    name: str
    task: str
    framework: str
    """The suite folder it is tested in: `torch`, `keras`, `tensorflow`, `tflite`, `tfjs`, `jax` or `transformers`."""
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
        _model(
            "efficientnet", "image-classification", "torch", build_efficientnet, "Tan and Le 2019, arXiv:1905.11946"
        ),
        _model("densenet", "image-classification", "torch", build_densenet, "Huang et al. 2016, arXiv:1608.06993"),
        _model("ssd", "object-detection", "torch", build_ssd, "Liu et al. 2015, arXiv:1512.02325"),
        _model("pointnet", "point-cloud-classification", "torch", build_pointnet, "Qi et al. 2016, arXiv:1612.00593"),
        _model("espcn", "super-resolution", "torch", build_espcn, "Shi et al. 2016, arXiv:1609.05158"),
        _model(
            "vae_decoder", "image-generation", "torch", build_vae_decoder, "Kingma and Welling 2013, arXiv:1312.6114"
        ),
        _model("dcgan", "image-generation", "torch", build_dcgan, "Radford et al. 2015, arXiv:1511.06434"),
        _model("gru_encoder", "translation", "torch", build_gru_encoder, "Bahdanau et al. 2014, arXiv:1409.0473"),
        _model("text_encoder", "text-embedding", "torch", build_text_encoder, "Vaswani et al. 2017, arXiv:1706.03762"),
        _model("tcn", "time-series-forecasting", "torch", build_tcn, "Bai et al. 2018, arXiv:1803.01271"),
        _model("wavenet", "audio-generation", "torch", build_wavenet, "van den Oord et al. 2016, arXiv:1609.03499"),
        _model("stream_enhancer", "speech-enhancement", "torch", build_stream_enhancer, "Valin 2018, arXiv:1709.08243"),
        _model(
            "tabular_mlp",
            "tabular-classification",
            "torch",
            build_tabular_mlp,
            "Guo and Berkhahn 2016, arXiv:1604.06737",
        ),
        _model("dlrm", "recommendation", "torch", build_dlrm, "Naumov et al. 2019, arXiv:1906.00091"),
        _model("gcn", "node-classification", "torch", build_gcn, "Kipf and Welling 2016, arXiv:1609.02907"),
        _model("cnn", "image-classification", "keras", build_cnn, "Simonyan and Zisserman 2014, arXiv:1409.1556"),
        _model("two_tower", "retrieval", "keras", build_two_tower, "Huang et al. 2013, CIKM; Yi et al. 2019, RecSys"),
        _model("bilstm", "text-classification", "keras", build_bilstm, "Schuster and Paliwal 1997, IEEE TSP 45(11)"),
        _model("churn", "tabular-classification", "keras", build_churn, "Gorishniy et al. 2021, arXiv:2106.11959"),
        _model(
            "gru_forecaster",
            "time-series-forecasting",
            "keras",
            build_gru_forecaster,
            "Chung et al. 2014, arXiv:1412.3555",
        ),
        _model("kws", "keyword-spotting", "keras", build_kws, "Choi et al. 2019, arXiv:1904.03814"),
        _model(
            "mobilenet_v1", "image-classification", "keras", build_mobilenet_v1, "Howard et al. 2017, arXiv:1704.04861"
        ),
        _model(
            "attention_classifier",
            "text-classification",
            "keras",
            build_attention_classifier,
            "Vaswani et al. 2017, arXiv:1706.03762",
        ),
        _model(
            "road_segmenter",
            "image-segmentation",
            "keras",
            build_road_segmenter,
            "Ronneberger et al. 2015, arXiv:1505.04597",
        ),
        _model(
            "machine_listener",
            "anomaly-detection",
            "keras",
            build_machine_listener,
            "Koizumi et al. 2020, arXiv:2006.05822",
        ),
        _model("keras_file", "tabular-classification", "keras", build_keras_file, "Gorishniy et al. 2021"),
        _model("keras_h5", "keyword-spotting", "keras", build_keras_h5, "Choi et al. 2019"),
        _model("keras_weights", "anomaly-detection", "keras", build_keras_weights, "Koizumi et al. 2020"),
        _model(
            "power_iteration",
            "linear-algebra",
            "tensorflow",
            build_power_iteration,
            "von Mises and Pollaczek-Geiringer 1929, ZAMM 9; Miyato et al. 2018, arXiv:1802.05957",
        ),
        _model(
            "signal_filter",
            "signal-processing",
            "tensorflow",
            build_signal_filter,
            "Oppenheim and Schafer 1975, Digital Signal Processing",
        ),
        _model(
            "image_preprocessing",
            "image-preprocessing",
            "tensorflow",
            build_image_preprocessing,
            "Krizhevsky et al. 2012, NeurIPS",
        ),
        _model("kalman", "tracking", "tensorflow", build_kalman, "Kalman 1960, J. Basic Eng. 82"),
        _model(
            "orthogonaliser",
            "linear-algebra",
            "tensorflow",
            build_orthogonaliser,
            "Bjorck and Bowie 1971, SIAM J. Num. Anal. 8; Bernstein and Newhouse 2024, arXiv:2409.20325",
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
        _model(
            "tflite_cnn_uint8",
            "image-classification",
            "tflite",
            build_tflite_cnn_uint8,
            "Jacob et al. 2017, arXiv:1712.05877",
        ),
        _model("tflite_cnn_float16", "image-classification", "tflite", build_tflite_cnn_float16, "as `tflite_cnn`"),
        _model("tflite_cnn_dynamic", "image-classification", "tflite", build_tflite_cnn_dynamic, "as `tflite_cnn`"),
        _model("tfjs_kws", "keyword-spotting", "tfjs", build_tfjs_kws, "Choi et al. 2019, arXiv:1904.03814"),
        _model("script_file", "image-classification", "torch", build_script_file, "Sandler et al. 2018"),
        _model("program_file", "image-classification", "torch", build_program_file, "He et al. 2015"),
        _model("program", "time-series-forecasting", "torch", build_program, "Bai et al. 2018"),
        _model("traced", "super-resolution", "torch", build_traced, "Shi et al. 2016"),
        _model("checkpoint", "tabular-classification", "torch", build_checkpoint, "Guo and Berkhahn 2016"),
        _model("attention", "sequence-modelling", "jax", build_attention, "Vaswani et al. 2017, arXiv:1706.03762"),
        _model(
            "nnx_cnn", "image-classification", "jax", build_nnx_cnn, "LeCun et al. 1998, Proceedings of the IEEE 86(11)"
        ),
        _model("eqx_gru", "sequence-classification", "jax", build_eqx_gru, "Cho et al. 2014, arXiv:1406.1078"),
        _model("jax_mlp", "implicit-representation", "jax", build_jax_mlp, "Tancik et al. 2020, arXiv:2006.10739"),
        _model("linen_cnn", "image-classification", "jax", build_linen_cnn, "Wu and He 2018, arXiv:1803.08494"),
        _model(
            "scan_lstm",
            "anomaly-detection",
            "jax",
            build_scan_lstm,
            "Hochreiter and Schmidhuber 1997, Neural Computation 9(8)",
        ),
        _model("mlp_mixer", "image-classification", "jax", build_mlp_mixer, "Tolstikhin et al. 2021, arXiv:2105.01601"),
        _model("geodetic", "positioning", "jax", build_geodetic, "Bowring 1976, Survey Review 23"),
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
        _model(
            "roberta_tagger",
            "token-classification",
            "transformers",
            build_roberta_tagger,
            "Liu et al. 2019, arXiv:1907.11692",
        ),
        _model("bert_qa", "question-answering", "transformers", build_bert_qa, "Devlin et al. 2018, arXiv:1810.04805"),
        _model("t5", "text-to-text-generation", "transformers", build_t5, "Raffel et al. 2019, arXiv:1910.10683"),
        _model("whisper", "speech-recognition", "transformers", build_whisper, "Radford et al. 2022, arXiv:2212.04356"),
        _model(
            "vit_classifier",
            "image-classification",
            "transformers",
            build_vit_classifier,
            "Dosovitskiy et al. 2020, arXiv:2010.11929",
        ),
        _model("segformer", "image-segmentation", "transformers", build_segformer, "Xie et al. 2021, arXiv:2105.15203"),
        _model("clip", "text-image-matching", "transformers", build_clip, "Radford et al. 2021, arXiv:2103.00020"),
        _model("llama", "text-generation", "transformers", build_llama, "Touvron et al. 2023, arXiv:2302.13971"),
        _model("qwen2", "text-generation", "transformers", build_qwen2, "Yang et al. 2024, arXiv:2407.10671"),
        _model("pretrained_folder", "text-classification", "transformers", build_pretrained_folder, "Sanh et al. 2019"),
        _model("config_file", "image-classification", "transformers", build_config_file, "Dosovitskiy et al. 2020"),
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


def suites_of(name: str) -> list[Path]:
    """Return the suite files that test the model called `name`, relative to the repository.

    Args:
        name: A key of `MODELS`.
    """
    model = get(name)
    root = Path(__file__).parent.parent
    factory = re.compile(rf"\b{model.build.__name__}\b")
    files = sorted((root / "suites" / model.framework).glob("test_*.py"))
    return [file.relative_to(root) for file in files if factory.search(file.read_text(encoding="utf-8"))]
