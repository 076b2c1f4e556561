"""Resizing and sampling grids against torch in float64, and the rest of Resize against formulas."""

from __future__ import annotations

import numpy as np
import pytest

from pytest_onnxprep.runtime.double_call import Call
from pytest_onnxprep.runtime.double_sampling import affine_grid, grid_sample, resize, roi_align, upsample

torch = pytest.importorskip("torch")
interpolate = torch.nn.functional.interpolate
X = np.random.default_rng(0).standard_normal((2, 3, 5, 6))
MODES = {"bilinear": "linear", "bicubic": "cubic"}


def close(found, expected):
    """Assert agreement to float64's precision."""
    assert found.shape == tuple(expected.shape)
    assert np.abs(found - np.asarray(expected)).max() < 1e-13


def sizes(*last):
    """A size for Resize."""
    return np.array([2, 3, *last])


@pytest.mark.parametrize("size", [(8, 9), (3, 2), (10, 12)])
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("corners", [True, False])
def test_resize_to_a_size(mode, corners, size):
    """Resize to a size."""
    transform = "align_corners" if corners else "pytorch_half_pixel"
    call = Call({"mode": MODES[mode], "coordinate_transformation_mode": transform}, 20)
    expected = interpolate(torch.from_numpy(X), size, mode=mode, align_corners=corners)
    close(resize(call, X, None, None, sizes(*size)), expected)


@pytest.mark.parametrize("scale", [0.7, 1.3, 2.0])
@pytest.mark.parametrize("mode", MODES)
def test_resize_by_a_scale_means_the_decimal_that_was_written(mode, scale):
    """Resize by a scale means the decimal that was written."""
    call = Call({"mode": MODES[mode]}, 20)
    expected = interpolate(torch.from_numpy(X), scale_factor=scale, mode=mode)
    scales = np.array([1, 1, np.float32(scale), np.float32(scale)], dtype=np.float64)
    close(resize(call, X, None, scales), expected)


@pytest.mark.parametrize("mode", MODES)
def test_antialias(mode):
    """Antialias."""
    attributes = {"mode": MODES[mode], "antialias": 1, "exclude_outside": 1, "cubic_coeff_a": -0.5}
    expected = interpolate(torch.from_numpy(X), (2, 4), mode=mode, antialias=True)
    close(resize(Call(attributes, 20), X, None, None, sizes(2, 4)), expected)


def test_nearest_as_torch_has_it():
    """Nearest as torch has it."""
    call = Call({"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}, 20)
    close(resize(call, X, None, None, sizes(9, 14)), interpolate(torch.from_numpy(X), (9, 14)))


@pytest.mark.parametrize(
    ("how", "picked"),
    [
        ("round_prefer_floor", [0, 0, 1, 1]),
        ("round_prefer_ceil", [0, 1, 1, 1]),
        ("ceil", [0, 1, 1, 1]),
        ("floor", [0, 0, 1, 1]),
    ],
)
def test_nearest_on_a_tie(how, picked):
    """Nearest on a tie."""
    call = Call({"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": how}, 20)
    assert resize(call, np.array([0.0, 1.0]), None, np.array([2.0])).tolist() == picked


def test_only_some_axes_in_proportion():
    """Only some axes in proportion."""
    call = Call({"axes": [2, 3], "keep_aspect_ratio_policy": "not_larger"}, 20)
    assert resize(call, X, None, None, np.array([10, 18])).shape == (2, 3, 10, 12)


def test_outside_the_crop():
    """Outside the crop."""
    call = Call(
        {"mode": "linear", "coordinate_transformation_mode": "tf_crop_and_resize", "extrapolation_value": 7.0}, 20
    )
    found = resize(call, np.array([0.0, 1, 2]), np.array([0.5, 1.5]), None, np.array([3]))
    assert found.tolist() == [1, 2, 7]


def test_resize_of_opset_10_takes_its_scales_second():
    """Resize of opset 10 takes its scales second."""
    close(
        resize(Call({"mode": "nearest"}, 10), X, np.array([1.0, 1, 2, 2])),
        interpolate(torch.from_numpy(X), scale_factor=2),
    )


def test_upsample():
    """Upsample."""
    close(
        upsample(Call({"mode": "nearest"}, 9), X, np.array([1.0, 1, 2, 2])),
        interpolate(torch.from_numpy(X), scale_factor=2),
    )


@pytest.mark.parametrize("corners", [True, False])
@pytest.mark.parametrize("padding", ["zeros", "border", "reflection"])
@pytest.mark.parametrize("mode", ["bilinear", "nearest", "bicubic"])
def test_grid_sample(mode, padding, corners):
    """Grid sample."""
    grid = np.random.default_rng(1).uniform(-1.6, 1.6, (2, 4, 7, 2))
    call = Call({"mode": mode, "padding_mode": padding, "align_corners": int(corners)}, 20)
    expected = torch.nn.functional.grid_sample(torch.from_numpy(X), torch.from_numpy(grid), mode, padding, corners)
    close(grid_sample(call, X, grid), expected)


def test_grid_sample_of_volumes():
    """Grid sample of volumes."""
    x, grid = (
        np.random.default_rng(1).uniform(-1, 1, (1, 2, 3, 4, 5)),
        np.random.default_rng(2).uniform(-1, 1, (1, 2, 3, 4, 3)),
    )
    expected = torch.nn.functional.grid_sample(torch.from_numpy(x), torch.from_numpy(grid), align_corners=False)
    close(grid_sample(Call({"mode": "linear"}, 20), x, grid), expected)


@pytest.mark.parametrize("corners", [True, False])
@pytest.mark.parametrize("size", [(4, 5), (3, 4, 5)])
def test_affine_grid(size, corners):
    """Affine grid."""
    theta = np.random.default_rng(1).standard_normal((2, len(size), len(size) + 1))
    expected = torch.nn.functional.affine_grid(torch.from_numpy(theta), [2, 3, *size], align_corners=corners)
    close(affine_grid(Call({"align_corners": int(corners)}, 20), theta, np.array([2, 3, *size])), expected)


def test_roi_align_of_a_ramp_is_the_mean_of_its_bins():
    """Roi align of a ramp is the mean of its bins."""
    ramp = np.broadcast_to(np.arange(8.0), (1, 1, 8, 8))
    attributes = {
        "output_height": 1,
        "output_width": 2,
        "sampling_ratio": 2,
        "coordinate_transformation_mode": "half_pixel",
    }
    found = roi_align(Call(attributes, 16), ramp, np.array([[1.0, 1, 5, 5]]), np.array([0]))
    assert np.allclose(found, [[[[1.5, 3.5]]]], rtol=0, atol=1e-15)
