"""Text that is written one token at a time: a stage that is called again and again, with a cache."""

import numpy as np

from model_zoo.transformers_models import build_gpt2
from pytest_onnxprep import Loop, Pipeline, Stage, TensorSpec, latency_budget, onnx_export, parity, size_budget
from suites.composition.parts import EOS, VOCABULARY, build_decoder_step, build_encoder


def begin(values):
    """The start token, and an empty cache."""
    batch = len(values["source"])
    return {"token": np.zeros(batch, "int64"), "cache": np.zeros((batch, 0, 32), "float32")}


def most_likely(outputs, _inputs):
    """Greedy decoding."""
    return {"token": outputs["logits"].argmax(-1), "cache": outputs["cache"]}


@onnx_export(
    Pipeline(
        [
            Stage(build_encoder, outputs=["memory"]),
            Loop(
                Stage(build_decoder_step, name="decoder", outputs=["logits", "cache"]),
                start=begin,
                feedback=most_likely,
                until=lambda outputs: (outputs["logits"].argmax(-1) == EOS).all(),
                max_steps=12,
                collect={"logits": "logits"},
            ),
            Stage(lambda logits: {"tokens": logits.argmax(-1)}, name="tokens", export=False),
        ],
    ),
    inputs={"source": TensorSpec("int64", "batch, length", low=0, high=VOCABULARY)},
    dims={"batch": (1, 3), "length": (2, 24)},
    exporter=["torchscript", "dynamo"],
    opset=18,
)
@parity(metrics={"tokens": 1.0}, max_examples=24)
@latency_budget(p95_ms=20, at={"batch": 1, "length": 12})
@size_budget(mb=0.4)
def test_encoder_and_decoder(onnx_model):
    """It stops where the last text ends: here after four tokens, after five, and for one of the last two never."""
    four, five, never = [3, 7, 9, 2], [5, 5, 5, 5], [31, 29, 34, 8]

    def tokens(*sources):
        return onnx_model.run({"source": np.array(sources)})["tokens"].tolist()

    (short,), (long,) = tokens(four), tokens(five)
    assert [short.index(EOS), long.index(EOS)] == [3, 4] == [len(short) - 1, len(long) - 1]
    assert tokens(four, five) == [[*short, EOS], long]
    (ended, endless) = tokens(four, never)
    assert len(endless) == 12
    assert EOS not in endless
    assert ended[:4] == short


def cache(name, layers=2):
    """Keys and values of every layer."""
    return [f"{name}.{layer}.{part}" for layer in range(layers) for part in ("key", "value")]


def prompt(values):
    """The whole prompt at once, and nothing before it."""
    ids = values["prompt"]
    empty = np.zeros((len(ids), 2, 0, 32), "float32")
    return {"input_ids": ids, "attention_mask": np.ones_like(ids), **dict.fromkeys(cache("past_key_values"), empty)}


def next_token(outputs, inputs):
    """One token more; what was said so far stays in the cache."""
    mask = inputs["attention_mask"]
    grown = dict(zip(cache("past_key_values"), (outputs[name] for name in cache("present")), strict=True))
    return {
        "input_ids": outputs["logits"][:, -1:].argmax(-1),
        "attention_mask": np.concatenate([mask, np.ones_like(mask[:, :1])], axis=1),
        **grown,
    }


@onnx_export(
    Pipeline(
        [
            Loop(
                Stage(
                    build_gpt2,
                    inputs={
                        "input_ids": TensorSpec("int64", "batch, new", low=0, high=1000),
                        "attention_mask": "int64[batch, past + new]",
                        **dict.fromkeys(cache("past_key_values"), "float32[batch, 2, past, 32]"),
                    },
                    outputs=["logits", *cache("present")],
                ),
                start=prompt,
                feedback=next_token,
                max_steps=8,
            ),
            Stage(
                lambda logits: {"next_token": logits[:, -1].argmax(-1)}, name="choice", export=False, takes=["logits"]
            ),
        ]
    ),
    inputs={"prompt": TensorSpec("int64", "batch, seq", low=0, high=1000)},
    dims={"batch": (1, 3), "seq": (1, 12)},
    exporter=["torchscript", "dynamo"],
    opset=18,
)
@parity(max_examples=24)
@latency_budget(p95_ms=20, at={"batch": 1, "seq": 8})
@size_budget(mb=1.2)
def test_gpt2_goes_on(onnx_model):
    assert list(onnx_model.stages) == ["gpt2"]
