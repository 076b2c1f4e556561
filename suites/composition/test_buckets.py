"""A few fixed sizes in the place of a dynamic shape: masked text, and pictures whose padding does no harm."""

import functools

import numpy as np

from model_zoo.torch_vision import build_unet
from model_zoo.transformers_models import build_distilbert_classifier
from pytest_onnxprep import BucketedModel, Dim, advise_buckets, latency_budget, onnx_export, parity, size_budget
from suites.composition.parts import build_cnn


@onnx_export(
    build_distilbert_classifier,
    dims={"batch": (1, 2), "seq": (1, 48)},
    buckets=[{"batch": 2, "seq": 12}, {"batch": 2, "seq": 48}],
    exporter="dynamo",
    opset=20,
)
@parity(atol=1e-5, rtol=1e-4, max_examples=24)
@latency_budget(p95_ms=30, at={"batch": 1, "seq": 10})
@size_budget(mb=4.6)
def test_distilbert_in_two_lengths(onnx_model):
    assert isinstance(onnx_model, BucketedModel)
    feeds = {name: np.ones((1, 13), "int64") for name in ("input_ids", "attention_mask")}
    assert onnx_model.bucket_for(feeds) == "batch2-seq48"


@onnx_export(
    functools.partial(build_cnn, 5),
    inputs={"image": "float32[batch, 3, 32, 32]"},
    dims={"batch": (1, 8)},
    buckets=[{"batch": 1}, {"batch": 4}, {"batch": 8}],
    exporter="torchscript",
    opset=17,
)
@parity(max_examples=24)
@latency_budget(p95_ms=20, at={"batch": 3})
@size_budget(mb=0.1)
def test_cnn_in_three_batches(onnx_model):
    image = np.ones((3, 3, 32, 32), "float32")
    assert onnx_model.bucket_for({"image": image}) == "batch4"
    assert onnx_model.run({"image": image})["output"].shape == (3, 6)


@onnx_export(
    build_unet,
    inputs={"image": "float32[batch, 3, h, w]"},
    dims={"batch": Dim(1, 2, example=1), "h": Dim(32, 64, multiple_of=16), "w": Dim(32, 64, multiple_of=16)},
    shapes="fixed",
    exporter="torchscript",
    opset=17,
)
@parity(max_examples=12)
@size_budget(mb=8)
def test_unet_at_one_size(onnx_model):
    assert onnx_model.session.get_inputs()[0].shape == [1, 3, 32, 48]


def test_advice_for_the_lengths_that_were_seen(onnx_exporter):
    """Every request has a bucket, padding is what is left of it, and the sizes go into `buckets=` as they are.

    Which sizes are chosen hangs on measured times; that they hold together does not.
    """
    dims = {"batch": (1, 2), "seq": (1, 48)}
    model = onnx_exporter(build_distilbert_classifier, dims=dims, exporter="torchscript", opset=17)
    seen = [7] * 30 + [11] * 20 + [24] * 5 + [40, 44]
    advice = advise_buckets(model, [{"seq": length} for length in seen], max_buckets=3, seconds=0.02)

    assert 1 <= len(advice.buckets) <= 3
    assert set(advice.considered) <= {1, 2, 3}
    lengths = [bucket.sizes["seq"] for bucket in advice.buckets]
    assert lengths == sorted(lengths)
    assert lengths[-1] == max(seen)
    goes_to = [next(length for length in lengths if length >= one) for one in seen]
    assert [bucket.requests for bucket in advice.buckets] == [goes_to.count(length) for length in lengths]
    for bucket in advice.buckets:
        own = [one for one, length in zip(seen, goes_to, strict=True) if length == bucket.sizes["seq"]]
        assert np.isclose(bucket.waste, 1 - sum(own) / (len(own) * bucket.sizes["seq"]))
    assert np.isclose(advice.waste, 1 - sum(seen) / sum(goes_to))
    rows = advice.table().splitlines()
    assert [row.split()[:2] for row in rows[1 : 1 + len(lengths)]] == [
        [f"seq={length}", str(goes_to.count(length))] for length in lengths
    ]
    assert rows[1 + len(lengths)].split()[:3] == ["all", str(len(seen)), "100%"]
    assert sum(row.split()[:2][-1] == "<-" for row in rows if "<-" in row) == 1

    held = [{"seq": length} for length in (*lengths[:-1], 48)]  # the largest declared size needs a bucket, too
    buckets = onnx_exporter(build_distilbert_classifier, dims=dims, exporter="torchscript", opset=17, buckets=held)
    assert len(buckets.buckets) == len(lengths)
