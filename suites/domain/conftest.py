"""Suites of packages that fight with the main environment's: `make suites-domain` makes one for them and runs them.

Anywhere else there is nothing to collect in this folder.
"""

from __future__ import annotations

import importlib.util
import os
import tempfile

#: Each suite and the package whose models it tests.
_NEEDS = {"test_yolo.py": "ultralytics", "test_mediapipe.py": "mediapipe"}

collect_ignore = [file for file, package in _NEEDS.items() if importlib.util.find_spec(package) is None]


def pytest_report_header() -> str:
    """Say why the folder is empty."""
    return "suites/domain: not collected here, run `make suites-domain`" if collect_ignore else ""


# Ultralytics asks the network what it may do, and installs what it misses, unless it is told not to.
os.environ["YOLO_OFFLINE"] = "true"
os.environ["YOLO_AUTOINSTALL"] = "false"
os.environ.setdefault("YOLO_CONFIG_DIR", os.path.join(tempfile.gettempdir(), "onnxprep-ultralytics"))
os.makedirs(os.environ["YOLO_CONFIG_DIR"], exist_ok=True)


def _torchvision_without_kernels() -> None:
    """Let torchvision be imported where its compiled operators cannot be.

    Its wheel is built for CUDA: beside a CPU build of torch its library does not load, and registering `nms`'s meta
    kernel then fails because nobody defined the operator. The models here use none of them.
    """
    import torch

    try:
        import torchvision  # noqa: F401
    except RuntimeError:
        global _OPERATORS
        _OPERATORS = torch.library.Library("torchvision", "DEF")
        for operator in (
            "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
            "roi_align(Tensor input, Tensor rois, float spatial_scale, SymInt pooled_height, SymInt pooled_width, "
            "int sampling_ratio, bool aligned) -> Tensor",
            "_roi_align_backward(Tensor grad, Tensor rois, float spatial_scale, SymInt pooled_height, "
            "SymInt pooled_width, SymInt batch_size, SymInt channels, SymInt height, SymInt width, "
            "int sampling_ratio, bool aligned) -> Tensor",
            "roi_pool(Tensor input, Tensor rois, float spatial_scale, SymInt pooled_height, SymInt pooled_width) "
            "-> (Tensor, Tensor)",
            "_roi_pool_backward(Tensor grad, Tensor rois, Tensor argmax, float spatial_scale, SymInt pooled_height, "
            "SymInt pooled_width, SymInt batch_size, SymInt channels, SymInt height, SymInt width) -> Tensor",
            "ps_roi_align(Tensor input, Tensor rois, float spatial_scale, SymInt pooled_height, SymInt pooled_width, "
            "int sampling_ratio) -> (Tensor, Tensor)",
            "_ps_roi_align_backward(Tensor grad, Tensor rois, Tensor channel_mapping, float spatial_scale, "
            "SymInt pooled_height, SymInt pooled_width, int sampling_ratio, SymInt batch_size, SymInt channels, "
            "SymInt height, SymInt width) -> Tensor",
            "ps_roi_pool(Tensor input, Tensor rois, float spatial_scale, SymInt pooled_height, SymInt pooled_width) "
            "-> (Tensor, Tensor)",
            "_ps_roi_pool_backward(Tensor grad, Tensor rois, Tensor channel_mapping, float spatial_scale, "
            "SymInt pooled_height, SymInt pooled_width, SymInt batch_size, SymInt channels, SymInt height, "
            "SymInt width) -> Tensor",
            "deform_conv2d(Tensor input, Tensor weight, Tensor offset, Tensor mask, Tensor bias, SymInt stride_h, "
            "SymInt stride_w, SymInt pad_h, SymInt pad_w, SymInt dilation_h, SymInt dilation_w, SymInt groups, "
            "SymInt offset_groups, bool use_mask) -> Tensor",
            "_deform_conv2d_backward(Tensor grad, Tensor input, Tensor weight, Tensor offset, Tensor mask, "
            "Tensor bias, SymInt stride_h, SymInt stride_w, SymInt pad_h, SymInt pad_w, SymInt dilation_h, "
            "SymInt dilation_w, SymInt groups, SymInt offset_groups, bool use_mask) "
            "-> (Tensor, Tensor, Tensor, Tensor, Tensor)",
        ):
            _OPERATORS.define(operator)


if importlib.util.find_spec("ultralytics") is not None:
    _torchvision_without_kernels()
