"""The zoo's registry, its suites and its page agree; factories are pure."""

from __future__ import annotations

import ast
import inspect
import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from model_zoo import MODELS, get, suites_of
from model_zoo.__main__ import table
from pytest_onnxprep.sources.load import load_source

ROOT = Path(__file__).parents[2]
FRAMEWORKS = {"torch", "keras", "tensorflow", "tflite", "tfjs", "jax", "transformers"}
#: Given as files, which are written once per process.
FILES = {name for name in MODELS if MODELS[name].build.__module__ in ("model_zoo.model_files", "model_zoo.keras_files")}
CHECKS = {"onnx_export", "parity", "latency_budget", "size_budget"}
SUITES = sorted({path for name in MODELS for path in suites_of(name)})
#: Building one takes a second and more, and its parts are those of others.
SLOW = {"resnet18", "mobilenet_v2", "vit", "unet"}


def functions_of(path):
    """The test functions of a suite file."""
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    return [node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")]


def marks_of(test):
    """The names its decorators end in."""
    calls = [node.func if isinstance(node, ast.Call) else node for node in test.decorator_list]
    return {node.attr if isinstance(node, ast.Attribute) else node.id for node in calls}


def test_size_of_the_zoo():
    """More than 40 models in seven frameworks, or formats of their files."""
    assert len(MODELS) > 40
    assert {model.framework for model in MODELS.values()} == FRAMEWORKS
    assert all(model.licence == "Apache-2.0" and model.source_paper and model.task for model in MODELS.values())


@pytest.mark.parametrize("name", MODELS)
def test_every_model_has_a_suite(name):
    """One with all four checks, and a body that asserts something."""
    suites = suites_of(name)

    assert suites, f"no suite under suites/{get(name).framework}/ uses {get(name).build.__name__}"
    for test in (test for path in suites for test in functions_of(path)):
        assert marks_of(test) >= CHECKS, test.name
        assert any(isinstance(node, ast.Assert) for node in ast.walk(test)), test.name


def test_every_suite_has_a_model():
    """No suite beside the zoo's in the folders of the frameworks."""
    files = {path.relative_to(ROOT) for framework in FRAMEWORKS for path in (ROOT / "suites" / framework).glob("*.py")}

    assert files == set(SUITES)


def test_quick_suites_are_a_third():
    """Every framework that models are written in is among those for a pull request."""
    quick = [path for path in SUITES if any("quick" in marks_of(test) for test in functions_of(path))]

    assert 0.25 <= len(quick) / len(SUITES) <= 0.45
    assert {path.parts[1] for path in quick} == FRAMEWORKS - {"tflite", "tfjs"}


def test_page_has_the_table():
    """docs/zoo.md lists the models as they are."""
    assert table() in (ROOT / "docs" / "zoo.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", MODELS)
def test_factory_is_documented(name):
    """It takes nothing and says what it builds, after whom, and what goes in."""
    factory = get(name).build
    text = inspect.getdoc(factory)

    assert factory.__name__.startswith("build_")
    assert not inspect.signature(factory).parameters
    assert text.startswith("Build ")
    assert "Returns:" in text


def test_importing_the_zoo_imports_no_framework():
    """A factory imports its framework when it is called."""
    code = f"import sys, model_zoo; print(*{FRAMEWORKS!r} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)

    assert done.stdout.strip() == ""


def test_unknown_model():
    """The message lists those there are."""
    with pytest.raises(KeyError, match=r"no model 'vgg' in the zoo; there are: .*resnet18"):
        get("vgg")


def contents(model):
    """What a model of the zoo holds: its weights, and where it has none to name, what it answers or is made of."""
    source = load_source(model.build)
    if model.framework in ("torch", "transformers"):
        return [tensor.numpy() for tensor in source.model.state_dict().values()]
    if model.framework == "keras":
        return source.model.get_weights()
    if model.framework == "tensorflow":
        import tensorflow as tf

        feeds = [tf.ones([size or 64 for size in spec.shape], spec.dtype) for spec in source.model.input_signature]
        return [value.numpy() for value in source.model(*feeds).values()]
    return [np.frombuffer(source.fingerprint().hexdigest.encode(), np.uint8)]


@pytest.mark.parametrize("name", sorted(MODELS.keys() - SLOW - FILES))
def test_factory_is_pure(name):
    """The same model every time, and the caller's random state as before."""
    model = get(name)
    pytest.importorskip({"transformers": "transformers", "keras": "keras"}.get(model.framework, model.framework))
    first = contents(model)
    random.seed(5)
    np.random.seed(5)
    states = (random.getstate(), np.random.get_state()[1].tolist())
    if model.framework in ("torch", "transformers"):
        import torch

        torch.manual_seed(7)
        before = torch.get_rng_state()
    second = contents(model)

    assert all(np.array_equal(one, other) for one, other in zip(first, second, strict=True))
    assert (random.getstate(), np.random.get_state()[1].tolist()) == states
    if model.framework in ("torch", "transformers"):
        assert torch.equal(torch.get_rng_state(), before)
