"""What pipelines, loops and ensembles are made of is checked when it is written."""

from __future__ import annotations

import functools

import pytest

from pytest_onnxprep.spec.composition import Ensemble, Loop, Pipeline, Stage, name_of
from pytest_onnxprep.spec.errors import SpecError


def build_net():
    """A factory; never called here."""


def test_names_come_from_the_sources():
    """Factories lose their verb, files their folder and suffix, and a second one of a name gets a number."""
    assert name_of(build_net) == "net"
    assert name_of(functools.partial(build_net)) == "net"
    assert name_of("models/head.onnx") == "head"
    assert [stage.name for stage in Pipeline([build_net, build_net, lambda: None]).stages] == ["net", "net2", "stage2"]


def test_parts_may_be_named_in_pairs_and_mappings():
    """As elsewhere in Python; a name given so is the part's."""
    for parts in ([("eyes", build_net), ("hands", Stage(build_net))], {"eyes": build_net, "hands": Stage(build_net)}):
        assert [stage.name for stage in Pipeline(parts).stages] == ["eyes", "hands"]
        assert [stage.name for stage in Ensemble(parts).members] == ["eyes", "hands"]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Pipeline([]), "at least one stage"),
        (lambda: Pipeline(build_net), "a list of stages is needed"),
        (lambda: Pipeline([Stage(build_net, export=False)]), "no stage is exported"),
        (lambda: Pipeline([Pipeline([build_net])]), "a Pipeline within a Pipeline is not taken"),
        (lambda: Stage(build_net, name="a.b"), "name must be text without dots"),
        (lambda: Stage(build_net, takes=3), "takes must"),
        (lambda: Stage(build_net, inputs={"x": "float33[b]"}), "stage 'net': inputs"),
        (lambda: Stage(build_net, parity={"tolerance": 1}), "stage 'net': parity: .*unexpected keyword"),
        (lambda: Stage(build_net, parity={"atol": -1}), "stage 'net': parity: atol must be"),
        (lambda: Stage(build_net, export="no"), "export must be True or False"),
        (lambda: Loop(build_net, start=1, feedback={}, max_steps=2), "start must be"),
        (lambda: Loop(build_net, start=build_net, feedback=1, max_steps=2), "feedback must map"),
        (lambda: Loop(build_net, start=build_net, feedback={}, max_steps=0), "max_steps must be"),
        (lambda: Loop(build_net, start=build_net, feedback={}, max_steps=1, until=1), "until must be"),
        (lambda: Ensemble([build_net]), "at least two members"),
        (lambda: Ensemble([build_net, build_net], combine="median"), "combine must be 'mean', 'weighted', 'vote'"),
        (lambda: Ensemble([build_net, build_net], combine="weighted"), "needs weights="),
        (lambda: Ensemble([build_net, build_net], weights=[1]), "weights must be 2 numbers"),
        (lambda: Ensemble([build_net, build_net], combine=max, weights=[1, 1]), "weights= goes with"),
        (lambda: Ensemble([build_net, Stage(build_net, export=False)]), "must be exported as it is"),
    ],
)
def test_mistakes_are_named(make, message):
    """Each says what is accepted."""
    with pytest.raises(SpecError, match=message):
        make()
