"""What is composed wrongly, or of a wrong part: each is caught, and the message names joint, part or whole."""

import functools

import numpy as np
import pytest

from pytest_onnxprep import ContractViolation, Ensemble, ParityError, Pipeline, Stage, TensorSpec, assert_parity
from suites.composition.parts import (
    VOCABULARY,
    build_cnn,
    build_decided_cnn,
    build_discriminator,
    build_generator,
    build_image_tower,
    build_text_tower,
)

NOISE = {"inputs": {"noise": "float32[batch, 16]"}, "dims": {"batch": (1, 4)}}
PICTURE = {"inputs": {"image": TensorSpec("float32", "batch, 3, 24, 24", low=-2, high=2)}, "dims": {"batch": (1, 2)}}
TRACED = {"exporter": "torchscript", "opset": 17}
NOT_ITS_REFERENCE = r"is not its reference"


built = functools.cache(lambda build, *arguments: build(*arguments))


def of_torch(module, *arrays):
    """What a module answers to arrays."""
    import torch

    with torch.no_grad():
        return module(*map(torch.from_numpy, arrays)).numpy()


# -- joints, in a GAN pair ----------------------------------------------------------------------------------------


def gan(picture, **options):
    """The pair, its joint declared."""
    return Pipeline(
        [
            Stage(build_generator, outputs=["picture"], options=options),
            Stage(build_discriminator, inputs={"picture": picture}, outputs=["realness"]),
        ]
    )


@pytest.mark.parametrize(
    ("declared", "words"),
    [
        (TensorSpec("float64", "batch, 3, 32, 32"), r"discriminator\.picture .*is float32, declared float64"),
        (TensorSpec("float32", "batch, 1, 32, 32"), r"discriminator\.picture .*has axis 1 of 3, declared 1"),
        (TensorSpec("float32", "batch, 3072"), r"discriminator\.picture .*declared float32\[batch, 3072\]"),
        (TensorSpec("float32", "batch, 3, 32, 32", low=0, high=1), r"discriminator\.picture .*declared low=0"),
    ],
    ids=["dtype", "channels", "rank", "range"],
)
def test_joint_that_is_not_what_was_declared(onnx_exporter, declared, words):
    """A critic that was trained on pictures of 0..1, or of one channel, behind a generator of -1..1."""
    with pytest.raises(ContractViolation, match=rf"(?s)what crosses the joint is not what was declared.*{words}"):
        onnx_exporter(gan(declared), **NOISE, **TRACED)


def build_other_generator():
    """Another checkpoint of the generator."""
    import torch

    model = build_generator()
    with torch.no_grad():
        model.first.weight *= 1.1
    return model


def test_generator_of_another_checkpoint(onnx_exporter):
    """The stage is named, whatever the critic makes of its pictures."""
    picture = TensorSpec("float32", "batch, 3, 32, 32", low=-1, high=1)
    model = onnx_exporter(gan(picture, rewritten=build_other_generator), **NOISE, **TRACED)
    with pytest.raises(ParityError, match=r"stage 'generator' of .*\n'picture' differs"):
        assert_parity(model, max_examples=6)


# -- two towers ---------------------------------------------------------------------------------------------------

PAIRS = {
    "inputs": {
        "image": TensorSpec("float32", "batch, 3, 24, 24", low=0, high=1),
        "tokens": TensorSpec("int64", "texts, words", low=0, high=VOCABULARY),
        "mask": TensorSpec("int64", "texts, words", values="mask"),
    },
    "dims": {"batch": (1, 4), "texts": (1, 6), "words": (1, 12)},
}


def cosines(one, other):
    """Of every image with every text."""
    return {"match": one @ other.T}


def in_torch(image, tokens, mask):
    """The undivided model."""
    return cosines(of_torch(built(build_image_tower), image), of_torch(built(build_text_tower), tokens, mask))


def build_other_text_tower():
    """Trained with another image tower."""
    import torch

    model = build_text_tower()
    with torch.no_grad():
        model.project.weight.copy_(model.project.weight.flip(0).clone())
    return model


def towers(text=build_text_tower, takes=("image_embedding", "text_embedding")):
    return Pipeline(
        [
            Stage(build_image_tower, takes={"image": "image"}, outputs=["image_embedding"]),
            Stage(text, name="text_tower", takes=["tokens", "mask"], outputs=["text_embedding"]),
            Stage(cosines, export=False, takes=list(takes)),
        ],
        reference=in_torch,
    )


def test_towers_of_one_model(onnx_exporter):
    """The sound form of those below."""
    assert_parity(onnx_exporter(towers(), **PAIRS, **TRACED), max_examples=6)


@pytest.mark.parametrize(
    "wrong",
    [towers(build_other_text_tower), towers(takes=["text_embedding", "image_embedding"])],
    ids=["another tower", "swapped"],
)
def test_towers_that_do_not_belong_together(onnx_exporter, wrong):
    """Every stage agrees with its framework; only the undivided model knows better."""
    model = onnx_exporter(wrong, **PAIRS, **TRACED)
    with pytest.raises(ParityError, match=rf"'match'.*the pipeline {NOT_ITS_REFERENCE}"):
        assert_parity(model, max_examples=6)


# -- ensembles ----------------------------------------------------------------------------------------------------


def member(seed, **options):
    return Stage(functools.partial(build_cnn, seed), name=f"cnn{seed}", outputs=["logits"], options=options)


def mean_in_torch(image):
    return {"logits": (of_torch(built(build_cnn, 1), image) + of_torch(built(build_cnn, 2), image)) / 2}


def test_mean_of_two(onnx_exporter):
    """The sound form of those below."""
    assert_parity(
        onnx_exporter(Ensemble([member(1), member(2)], reference=mean_in_torch), **PICTURE, **TRACED), max_examples=6
    )


def test_member_of_another_training(onnx_exporter):
    other = member(2, rewritten=functools.partial(build_cnn, 3))
    model = onnx_exporter(Ensemble([member(1), other], reference=mean_in_torch), **PICTURE, **TRACED)
    with pytest.raises(ParityError, match=r"member 'cnn2' of .*\n'logits' differs"):
        assert_parity(model, max_examples=6)


def geometric(answers):
    """Averages what is no probability on a scale of its own."""
    one, other = (answer["logits"] for answer in answers)
    return {"logits": np.sign(one) * np.sqrt(abs(one * other))}


@pytest.mark.parametrize(
    "combination", [{"weights": [2, 1]}, {"combine": geometric}], ids=["forgotten weights", "another mean"]
)
def test_combination_that_is_not_the_reference(onnx_exporter, combination):
    """The members are sound: the whole is what fails."""
    ensemble = Ensemble([member(1), member(2)], reference=mean_in_torch, **combination)
    model = onnx_exporter(ensemble, **PICTURE, **TRACED)
    with pytest.raises(ParityError, match=f"'logits' differs.*the ensemble {NOT_ITS_REFERENCE}"):
        assert_parity(model, max_examples=6)


# -- teacher and student ------------------------------------------------------------------------------------------


def ask(first, second):
    """The first one's answer where it is sure, the second one's elsewhere."""
    ordered = np.sort(first, axis=-1)
    sure = ordered[:, -1] - ordered[:, -2] > 0.5
    return {"logits": np.where(sure[:, None], first, second)}


def student(tuned=0):
    return functools.partial(build_decided_cnn, 7, 4, tuned)


teacher = functools.partial(build_decided_cnn, 8, 24)


def asked_in_torch(image):
    return ask(of_torch(built(build_decided_cnn, 7, 4), image), of_torch(built(build_decided_cnn, 8, 24), image))


def classroom(combine, **options):
    members = [
        Stage(student(), name="student", outputs=["logits"], options=options),
        Stage(teacher, name="teacher", outputs=["logits"]),
    ]
    return Ensemble(members, combine=combine, reference=asked_in_torch)


def asks_the_teacher(answers):
    return ask(*(answer["logits"] for answer in answers))


def asks_the_student(answers):
    return ask(*(answer["logits"] for answer in reversed(answers)))


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (classroom(asks_the_teacher, rewritten=student(tuned=1)), r"member 'student' of .*\n'logits' differs"),
        (classroom(asks_the_student), f"'logits' differs.*the ensemble {NOT_ITS_REFERENCE}"),
    ],
    ids=["another student", "roles swapped"],
)
def test_student_and_teacher(onnx_exporter, wrong, words):
    """Swapped roles give the same answer wherever both are in doubt or agree."""
    model = onnx_exporter(wrong, **PICTURE, **TRACED)
    with pytest.raises(ParityError, match=words):
        assert_parity(model, max_examples=6)


# -- buckets ------------------------------------------------------------------------------------------------------


def test_bucket_whose_padding_reaches_the_answer(onnx_exporter):
    """A mean over the picture counts the zeros beside it: the framework itself says so of the padded picture."""
    picture = {"inputs": {"image": "float32[1, 3, h, 24]"}, "dims": {"h": (16, 40)}}
    model = onnx_exporter(functools.partial(build_cnn, 5), **picture, **TRACED, buckets=[{"h": 24}, {"h": 40}])
    with pytest.raises(ParityError, match="padding changes the answer: the framework itself"):
        assert_parity(model, max_examples=6)
