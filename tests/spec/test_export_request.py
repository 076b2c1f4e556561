"""The arguments of `onnx_export`, PyTorch's own spelling included."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from pytest_onnxprep.spec.dims import Dim
from pytest_onnxprep.spec.errors import SpecError
from pytest_onnxprep.spec.export_request import read_export

IMAGE = np.zeros((2, 3, 16, 16), np.float32)
TOKENS = np.array([[3, 7, 9]])


def test_a_pasted_export_script_is_understood() -> None:
    """Example tensors, names, dynamic axes and the opset of `torch.onnx.export` make a whole request."""
    request = read_export(
        object(),
        args=(IMAGE, TOKENS),
        input_names=["image", "ids"],
        output_names=["logits"],
        dynamic_axes={"image": {0: "batch", 2: "h"}, "ids": {0: "batch"}, "logits": {0: "batch"}},
        opset_version=17,
    )

    assert {name: str(spec) for name, spec in (request.inputs or {}).items()} == {
        "image": "float32[batch, 3, h, 16]",
        "ids": "int64[batch, 3]",
    }
    assert list(request.outputs or {}) == ["logits"]
    assert request.opsets == (17,)
    assert request.dims == {"batch": Dim(1, 8, example=2), "h": Dim(1, 32, example=16)}


def test_integers_stay_within_the_range_the_example_shows() -> None:
    """An example of token ids bounds what is drawn: 0 up to its largest id."""
    (spec,) = (read_export(object(), inputs=TOKENS).inputs or {}).values()

    assert (spec.low, spec.high) == (0, 10)


def test_axes_in_a_list_get_names_of_their_own() -> None:
    """`dynamic_axes={"image": [0, 3]}` names the dims after input and axis."""
    request = read_export(object(), inputs={"image": IMAGE}, dynamic_axes={"image": [0, 3]})

    assert str((request.inputs or {})["image"]) == "float32[image_dim0, 3, 16, image_dim3]"


def test_a_negative_axis_counts_from_the_end() -> None:
    """`-1` is the last axis."""
    request = read_export(object(), inputs={"image": IMAGE}, dynamic_axes={"image": {-1: "w"}})

    assert str((request.inputs or {})["image"]) == "float32[2, 3, 16, w]"


def test_declared_ranges_win_over_the_example() -> None:
    """`dims=` decides where both speak."""
    request = read_export(object(), inputs={"x": IMAGE}, dynamic_axes={"x": {0: "n"}}, dims={"n": (1, 4)})

    assert request.dims == {"n": Dim(1, 4)}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"inputs": {"x": IMAGE}, "args": IMAGE}, "inputs and args say the same thing"),
        ({"input_names": ["x"]}, "input_names needs args"),
        ({"args": (IMAGE,), "input_names": ["x", "y"]}, "2 names for 1 example"),
        ({"dynamic_axes": {"x": {0: "n"}}}, "dynamic_axes needs example inputs"),
        ({"inputs": {"x": IMAGE}, "dynamic_axes": {"X": {0: "n"}}}, "names 'X', which is no input or output"),
        ({"inputs": {"x": IMAGE}, "dynamic_axes": {"x": {7: "n"}}}, "axis 7 is outside the example's rank 4"),
        ({"inputs": {"x": IMAGE}, "dynamic_axes": "batch"}, "dynamic_axes must map names to axes"),
        ({"inputs": {"x": 3}}, "inputs['x']: 3 does not describe a tensor"),
        ({"inputs": {3: IMAGE}}, "3 is not an input name"),
        ({"inputs": "float32[a]"}, "inputs must be a mapping or example tensors"),
        ({"outputs": ["a", "a"]}, "names must differ"),
        ({"outputs": {"a": "float32[b"}}, "outputs: malformed shape"),
        ({"outputs": 3}, "outputs must be names"),
        ({"outputs": []}, "outputs must be names"),
        ({"opset": []}, "must not be empty or repeat itself"),
        ({"opset": [17, 17]}, "must not be empty or repeat itself"),
        ({"opset": "17"}, "opset must be a positive integer"),
        ({"exporter": 3}, "exporter must be a name"),
        ({"options": 3}, "options must be a mapping"),
        ({"generate": 3, "inputs": {"x": IMAGE}}, "generate must be callable"),
        ({"generate": dict}, "generate needs inputs"),
        ({"samples": 3}, "samples must be"),
        ({"artifact": 3}, "artifact must be the path"),
        ({"precision": "float16"}, "not available in this version"),
    ],
)
def test_malformed_arguments(arguments: dict[str, Any], message: str) -> None:
    """Each says what was wrong and what is accepted."""
    with pytest.raises(SpecError) as caught:
        read_export(object(), **arguments)

    assert message in str(caught.value)


def test_domains_are_the_plugins_own_option() -> None:
    """`options={"domains": [...]}` is not handed to the exporter."""
    request = read_export(object(), options={"domains": ["com.acme"], "optimize": False})

    assert request.domains == ("com.acme",)
    assert request.options == ({"optimize": False},)


@pytest.mark.parametrize("source", [3, True, b"model", [object()], {"model": object()}])
def test_a_source_that_can_be_no_model(source: Any) -> None:
    """Plain data in the place of the source is refused at collection."""
    with pytest.raises(SpecError, match="is no model; accepted"):
        read_export(source)
