"""What stands before and after the network, inside the file: pixels, boxes, labels (texts: `test_texts.py`).

Tensors that agree are not the task: beside parity each test compares what a user of the model sees (boxes by IoU,
tokens, the best k) with a reference in plain Python. Broken forms must be caught, sound forms must pass.
"""

import numpy as np
import pytest

from pytest_onnxprep import Dim, ParityError, TensorSpec, assert_parity, onnx_export, parity

torch = pytest.importorskip("torch")
onnxscript = pytest.importorskip("onnxscript")

from onnxscript import opset18 as op  # noqa: E402

# -- pixels: uint8, height by width by channel, any size ----------------------------------------------------------

PIXELS = {
    "inputs": {"image": TensorSpec("uint8", "h, w, 3")},
    "dims": {"h": (8, 40), "w": (8, 40)},
}
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class Pixels(torch.nn.Module):
    """Normalise, put channels first, resize to 16 by 16."""

    mean, std = MEAN, STD
    mode, align_corners = "bilinear", False

    def forward(self, image):
        x = (image / 255 - torch.tensor(self.mean)) / torch.tensor(self.std)
        x = x.permute(2, 0, 1)[None]
        resized = torch.nn.functional.interpolate(x, size=(16, 16), mode=self.mode, align_corners=self.align_corners)
        return {"pixels": resized}


class WrongMeans(Pixels):
    """The means of a network that takes blue first."""

    mean = MEAN[::-1]


class AlignedCorners(Pixels):
    """The outermost pixels stay where they are, as in OpenCV's old days."""

    align_corners = True


class Nearest(Pixels):
    """Takes a pixel instead of blending four."""

    mode, align_corners = "nearest", None


@onnx_export(Pixels, **PIXELS, exporter=["dynamo", "torchscript"], opset=18)
@parity(atol=1e-4)
def test_normalise_and_resize(onnx_model):
    """Against plain NumPy, too: a picture that has its size already only needs normalising."""
    image = np.random.default_rng(0).integers(0, 256, (16, 16, 3), "uint8")
    expected = ((image / 255 - MEAN) / STD).transpose(2, 0, 1)[None]
    np.testing.assert_allclose(onnx_model.run({"image": image})["pixels"], expected, atol=1e-5)


@pytest.mark.parametrize("wrong", [WrongMeans, AlignedCorners, Nearest])
def test_wrong_pixels(onnx_exporter, wrong):
    """Both sides agree on what is wrong when the model is its own reference; held to the right one it is caught."""
    model = onnx_exporter(Pixels, **PIXELS, exporter="torchscript", opset=18, options={"rewritten": wrong})
    with pytest.raises(ParityError, match="'pixels' differs"):
        assert_parity(model)


class Pooled(torch.nn.Module):
    """Adaptive pooling takes its window from the size of the picture."""

    def forward(self, x):
        return torch.nn.functional.adaptive_avg_pool2d(x, (2, 2))


def test_window_of_the_example(onnx_exporter):
    """torch.export keeps the window of the example's size, and the file still says that sizes are dynamic."""
    h = Dim(8, 32, multiple_of=4)
    model = onnx_exporter(Pooled, inputs={"x": "float32[1, 3, h, 8]"}, dims={"h": h}, exporter="dynamo")
    with pytest.raises(ParityError, match=r"fails for +every h"):
        assert_parity(model)


# -- boxes: non-maximum suppression in the graph ------------------------------------------------------------------


def iou(one, others):
    """Of one box with others, all as y1, x1, y2, x2."""
    low, high = np.maximum(one[:2], others[:, :2]), np.minimum(one[2:], others[:, 2:])
    shared = np.prod(np.maximum(high - low, 0), axis=1)
    area = np.prod(one[2:] - one[:2])
    return shared / (area + np.prod(others[:, 2:] - others[:, :2], axis=1) - shared)


def suppress(boxes, scores, threshold):
    """The reference: best first, and nothing that overlaps a better one."""
    kept = []
    for index in np.argsort(-scores, kind="stable"):
        if not kept or (iou(boxes[index], boxes[kept]) <= threshold).all():
            kept.append(index)
    return np.array(kept, "int64")


def matched(found, expected, threshold=0.5):
    """The share of expected boxes that a found one overlaps enough, each found box taken once."""
    free = list(range(len(found)))
    hits = 0
    for box in expected:
        overlaps = iou(box, found[free]) if free else np.zeros(0)
        if overlaps.size and overlaps.max() >= threshold:
            free.pop(int(overlaps.argmax()))
            hits += 1
    return hits / len(expected)


@torch.library.custom_op("challenges::nms", mutates_args=())
def nms(boxes: torch.Tensor, scores: torch.Tensor, threshold: float) -> torch.Tensor:
    return torch.from_numpy(suppress(boxes.numpy(), scores.numpy(), threshold))


@nms.register_fake
def _(boxes, scores, threshold):
    return boxes.new_empty(torch.library.get_ctx().new_dynamic_size(), dtype=torch.int64)


class Detector(torch.nn.Module):
    """A detector's last step: corners from centres and sizes, then suppression."""

    def forward(self, centres, sizes, scores):
        boxes = torch.cat([centres - sizes / 2, centres + sizes / 2], 1)
        kept = nms(boxes, scores, 0.5)
        return {"boxes": boxes[kept], "kept": scores[kept]}


def suppression(threshold):
    """ONNX's own operator for it, as a TorchScript symbolic."""

    def symbolic(g, boxes, scores, _):
        constant = [g.op("Constant", value_t=torch.tensor([value])) for value in (10_000, threshold)]
        one = g.op("Constant", value_t=torch.tensor([0]))
        two = g.op("Constant", value_t=torch.tensor([0, 1]))
        batched = g.op("Unsqueeze", boxes, one), g.op("Unsqueeze", scores, two)
        found = g.op("NonMaxSuppression", *batched, *constant)
        column = g.op("Constant", value_t=torch.tensor([2]))
        return g.op("Squeeze", g.op("Gather", found, column, axis_i=1), g.op("Constant", value_t=torch.tensor([1])))

    return {"symbolics": {"challenges::nms": symbolic}}


def suppression_for_dynamo(boxes, scores, threshold):
    """The same for a translation table."""
    batched = op.Unsqueeze(boxes, op.Constant(value_ints=[0])), op.Unsqueeze(scores, op.Constant(value_ints=[0, 1]))
    limits = op.Constant(value_ints=[10_000]), op.Constant(value_floats=[threshold])
    found = op.NonMaxSuppression(*batched, *limits)
    column = op.Gather(found, op.Constant(value_ints=[2]), axis=1)
    return op.Squeeze(column, op.Constant(value_ints=[1]))


DETECTIONS = {
    "inputs": {
        "centres": TensorSpec("float32", "n, 2", low=0, high=1),
        "sizes": TensorSpec("float32", "n, 2", low=0.1, high=0.5),
        "scores": TensorSpec("float32", "n", low=0, high=1),
    },
    "dims": {"n": (1, 30)},
}


def detections(dims, rng):
    """Scores of their own: of two equal ones either may be kept."""
    n = dims["n"]
    scores = (rng.permutation(n) + 1) / (n + 1)
    return {
        "centres": rng.uniform(0, 1, (n, 2)).astype("float32"),
        "sizes": rng.uniform(0.1, 0.5, (n, 2)).astype("float32"),
        "scores": scores.astype("float32"),
    }


@onnx_export(Detector, **DETECTIONS, generate=detections, exporter="torchscript", options=suppression(0.5))
@parity()
def test_suppression_in_the_graph(onnx_model):
    """Every box of the reference in Python is found."""
    feeds = detections({"n": 30}, np.random.default_rng(0))
    boxes = np.concatenate([feeds["centres"] - feeds["sizes"] / 2, feeds["centres"] + feeds["sizes"] / 2], 1)
    expected = boxes[suppress(boxes, feeds["scores"], 0.5)]
    found = onnx_model.run(feeds)["boxes"]
    assert len(found) == len(expected) < 30
    assert matched(found, expected) == 1.0
    assert onnx_model.operators["NonMaxSuppression"] == 1


@onnx_export(
    Detector,
    **DETECTIONS,
    generate=detections,
    exporter="dynamo",
    options={"custom_translation_table": {torch.ops.challenges.nms.default: suppression_for_dynamo}},
)
@parity()
def test_suppression_in_the_graph_of_dynamo(onnx_model):
    assert onnx_model.operators["NonMaxSuppression"] == 1


def test_suppression_with_another_threshold(onnx_exporter):
    """Fewer boxes are kept: the shapes differ, and boxes of the reference are missed."""
    model = onnx_exporter(Detector, **DETECTIONS, generate=detections, exporter="torchscript", options=suppression(0.1))
    with pytest.raises(ParityError, match="'boxes'"):
        assert_parity(model)
    feeds = detections({"n": 30}, np.random.default_rng(0))
    assert matched(model.run(feeds)["boxes"], model.reference(feeds)["boxes"]) < 1.0


# -- labels: the best k, and a transcript -------------------------------------------------------------------------


class Labels(torch.nn.Module):
    """The five best classes with their probabilities, and a greedy transcript: repeats folded, blanks dropped."""

    def forward(self, logits):
        probabilities = logits.softmax(-1)
        best = probabilities.mean(0).topk(5)
        path = logits.argmax(-1)
        before = torch.cat([torch.full((1,), -1, dtype=path.dtype), path[:-1]])
        return {"top": best.indices, "probability": best.values, "tokens": path[(path != before) & (path != 0)]}


def transcript(logits):
    """The reference in Python."""
    tokens, before = [], -1
    for token in logits.argmax(-1):
        if token not in (before, 0):
            tokens.append(int(token))
        before = token
    return tokens


@onnx_export(Labels, inputs={"logits": "float32[time, 8]"}, dims={"time": (1, 20)}, exporter="torchscript", opset=18)
@parity()
def test_labels_and_transcript(onnx_model):
    for seed in range(10):
        logits = np.random.default_rng(seed).normal(size=(20, 8)).astype("float32")
        answers = onnx_model.run({"logits": logits})
        exact = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
        assert answers["tokens"].tolist() == transcript(logits)
        assert answers["top"].tolist() == np.argsort(-exact.mean(0))[:5].tolist()


class SmallestFirst(Labels):
    """The probabilities of the five least likely."""

    def forward(self, logits):
        answers = super().forward(logits)
        worst = logits.softmax(-1).mean(0).topk(5, largest=False)
        return {**answers, "top": worst.indices, "probability": worst.values}


class LabelsByPeak(Labels):
    """Ranks classes by their best moment in place of their mean: often the same best, seldom the same five."""

    def forward(self, logits):
        best = logits.softmax(-1).amax(0).topk(5)
        return {**super().forward(logits), "top": best.indices, "probability": best.values}


class Unfolded(Labels):
    """Drops blanks and keeps repeats."""

    def forward(self, logits):
        path = logits.argmax(-1)
        return {**super().forward(logits), "tokens": path[path != 0]}


class BlankIsLast(Labels):
    """Takes the last class for the blank, as other toolkits have it."""

    def forward(self, logits):
        path = logits.argmax(-1)
        before = torch.cat([torch.full((1,), -1, dtype=path.dtype), path[:-1]])
        return {**super().forward(logits), "tokens": path[(path != before) & (path != logits.shape[-1] - 1)]}


@pytest.mark.parametrize(
    ("wrong", "output"),
    [(SmallestFirst, "top"), (LabelsByPeak, "top"), (Unfolded, "tokens"), (BlankIsLast, "tokens")],
)
def test_wrong_labels(onnx_exporter, wrong, output):
    """The best k are ranked and a transcript is folded otherwise: both are caught, by the output that shows it."""
    inputs = {"inputs": {"logits": "float32[time, 8]"}, "dims": {"time": (1, 20)}}
    model = onnx_exporter(Labels, **inputs, exporter="torchscript", opset=18, options={"rewritten": wrong})
    with pytest.raises(ParityError, match=f"'{output}'"):
        assert_parity(model)
