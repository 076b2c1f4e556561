"""Models that answer together: a vote, a weighted mean, a student that asks its teacher when in doubt."""

import functools

import numpy as np

from pytest_onnxprep import Ensemble, Stage, TensorSpec, latency_budget, onnx_export, parity, size_budget
from suites.composition.parts import build_cnn, build_decided_cnn

PICTURE = {"image": TensorSpec("float32", "batch, 3, h, w", low=-2, high=2)}
SIDES = {"batch": (1, 4), "h": (16, 48), "w": (16, 48)}
MEMBERS = [Stage(functools.partial(build_cnn, seed), name=f"cnn{seed}", outputs=["logits"]) for seed in (1, 2, 3)]
VOTERS = [
    Stage(functools.partial(build_decided_cnn, 1, tuned=tuned), name=f"cnn{tuned}", outputs=["logits"])
    for tuned in (1, 2, 3)
]


def pictures(count):
    return {"image": np.random.default_rng(0).normal(size=(count, 3, 20, 24)).astype("float32")}


@onnx_export(Ensemble(VOTERS, combine="vote"), inputs=PICTURE, dims=SIDES, exporter="torchscript", opset=17)
@parity(max_examples=24)
@latency_budget(p95_ms=15, at={"batch": 1, "h": 32, "w": 32})
@size_budget(mb=0.1)
def test_vote(onnx_model):
    """Of pictures on which all agree, two against one, and none: there the smallest class wins."""
    assert list(onnx_model.members) == ["cnn1", "cnn2", "cnn3"]
    feeds = pictures(200)
    labels = np.stack([member.run(feeds)["logits"].argmax(-1) for member in onnx_model.members.values()])
    different = [len(set(votes)) for votes in labels.T.tolist()]
    assert min(map(different.count, (1, 2, 3))) > 0
    expected = [max(sorted(votes), key=votes.count) for votes in labels.T.tolist()]
    assert onnx_model.run(feeds)["logits"].tolist() == expected


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
            Stage(functools.partial(build_decided_cnn, 7, 4), name="student", outputs=["logits"]),
            Stage(functools.partial(build_decided_cnn, 8, 24), name="teacher", outputs=["logits"]),
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
    """Each answers where it is its turn: about half of the pictures."""
    small, large = (member.size_bytes for member in onnx_model.members.values())
    assert small < large / 2
    feeds = pictures(100)
    student, teacher = (member.run(feeds)["logits"] for member in onnx_model.members.values())
    found = onnx_model.run(feeds)["logits"]
    asked = (found == teacher).all(-1)
    assert 20 < asked.sum() < 80
    assert (found[~asked] == student[~asked]).all()
