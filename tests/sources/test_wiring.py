"""Values find their way: by name, in order, or as mapped; loops end; ensembles agree."""

from __future__ import annotations

import numpy as np
import pytest

from pytest_onnxprep.errors import ReferenceRefused, SourceError
from pytest_onnxprep.sources.ensemble import combine
from pytest_onnxprep.sources.pipeline import ComposedSource
from pytest_onnxprep.sources.python_function import PythonSource
from pytest_onnxprep.sources.wiring import LoadedLoop, LoadedStage
from pytest_onnxprep.spec.composition import Ensemble, Loop, Stage
from pytest_onnxprep.spec.signature import Signature
from pytest_onnxprep.spec.tensor import TensorSpec


def stage(function, **arguments):
    """A stage of a plain function, loaded."""
    return LoadedStage(Stage(function, export=False, **arguments), PythonSource(function))


ONE = np.ones(1)
VALUES = {"image": ONE, "boxes": ONE * 2, "detector.boxes": ONE * 2, "scores": ONE * 3, "detector.scores": ONE * 3}
LAST = {"boxes": ONE * 2, "scores": ONE * 3}


def test_parameters_that_are_outputs_are_taken_by_name():
    """Whatever their order."""
    bound = stage(lambda scores, boxes: scores).bind(VALUES, LAST, first=False)

    assert {name: float(value[0]) for name, value in bound.items()} == {"scores": 3, "boxes": 2}


def test_other_parameters_are_taken_in_order():
    """An input of the whole that happens to have the name does not come in between."""
    bound = stage(lambda image, confidence: image).bind(VALUES, LAST, first=False)

    assert {name: float(value[0]) for name, value in bound.items()} == {"image": 2, "confidence": 3}


def test_takes_maps_and_lists():
    """A mapping names the inputs, a list takes the names as they are."""
    mapped = stage(lambda a, b: a, takes={"a": "image", "b": "detector.scores"}).bind(VALUES, LAST, first=False)
    listed = stage(lambda x, y: x, takes=["scores", "image"]).bind(VALUES, LAST, first=False)

    assert {name: float(value[0]) for name, value in mapped.items()} == {"a": 1, "b": 3}
    assert list(listed) == ["scores", "image"]


def test_what_nobody_gives_is_named():
    """The message lists what there is."""
    with pytest.raises(SourceError, match=r"takes 'mask', which no input and no earlier stage gives.*There are: image"):
        stage(lambda boxes, scores, mask: boxes).bind(VALUES, LAST, first=False)


def count_up(**arguments):
    """A loop over a counter."""
    body = Stage(lambda n, step: {"n": n + step}, name="count", export=False)
    loop = Loop(body, start=lambda values: {"n": values["n"]}, feedback={"n": "n"}, **arguments)
    return LoadedLoop(loop, LoadedStage(loop.body, PythonSource(body.source)))


def run(loop):
    """Run it on one counter."""
    return loop.run({"n": np.zeros(2), "step": np.full(2, 3.0)}, lambda body, feeds: body.run(feeds))


def test_a_loop_ends_at_its_condition_or_its_limit():
    """What is fed back grows, what is not stays the same."""
    assert run(count_up(max_steps=4))["n"].tolist() == [12, 12]
    assert run(count_up(max_steps=9, until=lambda outputs: outputs["n"][0] >= 6))["n"].tolist() == [6, 6]


def test_a_loop_collects_its_steps():
    """Every step's value, along axis 1."""
    assert run(count_up(max_steps=3, collect={"path": "n"}))["path"].tolist() == [[3, 6, 9]] * 2


def test_a_loop_names_what_its_body_does_not_give():
    """A wrong name in feedback or collect is a clear error."""
    with pytest.raises(SourceError, match="the body gives no 'm'"):
        run(count_up(max_steps=3, collect={"path": "m"}))


def test_a_function_that_raises_refuses_its_input():
    """As a framework does that does not take a size."""
    with pytest.raises(ReferenceRefused, match="ZeroDivisionError"):
        stage(lambda x: 1 // 0).run({"x": ONE})


def answers(*values):
    """One output per member."""
    return [{"output": np.asarray(value)} for value in values]


def both(how, **arguments):
    """An ensemble of two sources nobody loads."""
    return Ensemble([test_takes_maps_and_lists, test_takes_maps_and_lists], combine=how, **arguments)


def test_the_mean_is_weighted():
    """In the members' own dtype."""
    made = combine(both("mean", weights=[3, 1]), answers(np.float32([0, 4]), np.float32([4, 0])), ["a", "b"])["output"]

    assert made.tolist() == [1, 3]
    assert made.dtype == np.float32


def test_the_vote_takes_the_most_and_of_equals_the_smallest():
    """Scores vote for their largest class; a heavier member outvotes a lighter one."""
    scores = answers(np.float32([[0, 1, 0]]), np.float32([[1, 0, 0]]))

    assert combine(both("vote"), scores, ["a", "b"])["output"].tolist() == [0]
    assert combine(both("vote", weights=[2, 1]), scores, ["a", "b"])["output"].tolist() == [1]


def test_members_that_do_not_fit_together_are_named():
    """Other names or other shapes cannot be combined."""
    with pytest.raises(SourceError, match=r"float32\[2\] of 'a' and float32\[3\] of 'b'"):
        combine(both("mean"), answers(np.zeros(2, "f4"), np.zeros(3, "f4")), ["a", "b"])
    with pytest.raises(SourceError, match="members need the same outputs"):
        combine(both("mean"), [{"x": ONE}, {"y": ONE}], ["a", "b"])


def test_answers_apart_differ_by_rounding_between_the_parts():
    """What is equal in the framework is told apart, and nothing moves further than a few epsilons."""

    class Two(ComposedSource):
        label = "two"

        def answer(self, feeds, call):
            first = call(stage(lambda x: {"scores": np.zeros(9, "f4") + x}), feeds)
            return call(stage(lambda scores: {"best": scores.argmax(), "scores": scores}), first)

    pairs = list(Two().answers_apart({"x": np.ones(1, "f4")}, Signature({"x": TensorSpec("float32", "1")})))

    assert len(pairs) == 4
    assert {int(plain["best"]) for plain, _ in pairs} == {0}
    assert {int(moved["best"]) for _, moved in pairs} != {0}
    assert all(np.allclose(plain["scores"], moved["scores"], rtol=1e-5) for plain, moved in pairs)
