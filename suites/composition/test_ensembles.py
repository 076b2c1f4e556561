"""Models that answer together: a vote, a weighted mean, a student that asks its teacher when in doubt."""

import functools

import numpy as np

from pytest_onnxprep import Ensemble, Stage, TensorSpec, latency_budget, onnx_export, parity, size_budget
from suites.composition.parts import build_cnn

PICTURE = {"image": TensorSpec("float32", "batch, 3, h, w", low=-2, high=2)}
SIDES = {"batch": (1, 4), "h": (16, 48), "w": (16, 48)}
MEMBERS = [Stage(functools.partial(build_cnn, seed), name=f"cnn{seed}", outputs=["logits"]) for seed in (1, 2, 3)]


@onnx_export(Ensemble(MEMBERS, combine="vote"), inputs=PICTURE, dims=SIDES, exporter="torchscript", opset=17)
@parity(max_examples=24)
@latency_budget(p95_ms=15, at={"batch": 1, "h": 32, "w": 32})
@size_budget(mb=0.1)
def test_vote(onnx_model):
    assert list(onnx_model.members) == ["cnn1", "cnn2", "cnn3"]
    assert onnx_model.run({"image": np.zeros((2, 3, 16, 16), "float32")})["logits"].shape == (2,)


@onnx_export(
    Ensemble(MEMBERS, combine="mean", weights=[0.5, 0.3, 0.2]),
    inputs=PICTURE,
    dims=SIDES,
    exporter="torchscript",
    opset=17,
)
@parity(max_examples=24)
@size_budget(mb=0.1)
def test_weighted_mean(onnx_model):
    feeds = {"image": np.ones((1, 3, 20, 20), "float32")}
    answers = [member.run(feeds)["logits"] for member in onnx_model.members.values()]
    assert np.allclose(onnx_model.run(feeds)["logits"], np.average(answers, axis=0, weights=[0.5, 0.3, 0.2]), atol=1e-5)


def ask_the_teacher(answers):
    """The student's answer where it is sure, the teacher's elsewhere."""
    student, teacher = (answer["logits"] for answer in answers)
    ordered = np.sort(student, axis=-1)
    sure = ordered[:, -1] - ordered[:, -2] > 0.5
    return {"logits": np.where(sure[:, None], student, teacher)}


@onnx_export(
    Ensemble(
        [
            Stage(functools.partial(build_cnn, 7, 4), name="student", outputs=["logits"]),
            Stage(functools.partial(build_cnn, 8, 24), name="teacher", outputs=["logits"]),
        ],
        combine=ask_the_teacher,
    ),
    inputs=PICTURE,
    dims=SIDES,
    exporter="torchscript",
    opset=17,
)
@parity(max_examples=24)
@size_budget(mb=0.1)
def test_student_and_teacher(onnx_model):
    small, large = (member.size_bytes for member in onnx_model.members.values())
    assert small < large / 2
