"""Vision models in PyTorch, written from their papers and drawn from fixed seeds."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def build_resnet18() -> torch.nn.Module:
    """Build ResNet-18 (He et al. 2015, arXiv:1512.03385).

    `image float32[batch, 3, h, w]` to `logits float32[batch, 1000]`, any h and w from 32 up.

    Returns:
        The model in eval mode, 11 689 512 parameters.
    """
    from model_zoo._torch_seeding import fixed_seed, trained_like
    from model_zoo.architectures.resnet import ResNet18

    with fixed_seed(18):
        return trained_like(ResNet18())


def build_mobilenet_v2() -> torch.nn.Module:
    """Build MobileNetV2 at width 1.0 (Sandler et al. 2018, arXiv:1801.04381).

    `image float32[batch, 3, h, w]` to `logits float32[batch, 1000]`, any h and w from 32 up.

    Returns:
        The model in eval mode, 3 504 872 parameters.
    """
    from model_zoo._torch_seeding import fixed_seed, trained_like
    from model_zoo.architectures.mobilenet_v2 import MobileNetV2

    with fixed_seed(2):
        return trained_like(MobileNetV2())


def build_unet() -> torch.nn.Module:
    """Build a U-Net of base width 16 (Ronneberger et al. 2015, arXiv:1505.04597).

    `image float32[batch, 3, h, w]` to `mask_logits float32[batch, 2, h, w]`, h and w multiples of 16. As is usual
    by now, convolutions are padded (the paper crops instead) and followed by BatchNorm.

    Returns:
        The model in eval mode, 1 942 594 parameters.
    """
    from model_zoo._torch_seeding import fixed_seed, trained_like
    from model_zoo.architectures.unet import UNet

    with fixed_seed(15):
        return trained_like(UNet())


def build_vit() -> torch.nn.Module:
    """Build a small Vision Transformer (Dosovitskiy et al. 2020, arXiv:2010.11929).

    `image float32[batch, 3, 96, 96]` to `logits float32[batch, 1000]`. Width and heads are those of ViT-Ti/16
    (Touvron et al. 2020, arXiv:2012.12877), at half its depth: 6 blocks.

    Returns:
        The model in eval mode, 3 017 512 parameters.
    """
    from model_zoo._torch_seeding import fixed_seed, trained_like
    from model_zoo.architectures.vit import VisionTransformer

    with fixed_seed(16):
        return trained_like(VisionTransformer())


def build_efficientnet() -> torch.nn.Module:
    """Build the first five stages of EfficientNet (Tan and Le 2019, arXiv:1905.11946), one block each.

    `image float32[batch, 3, h, w]` to `logits float32[batch, 100]`, any h and w from 32 up. SiLU, squeeze and excite.

    Returns:
        The model in eval mode, 241 748 parameters.
    """
    from model_zoo._torch_seeding import fixed_seed, trained_like
    from model_zoo.architectures.efficientnet import EfficientNet

    with fixed_seed(1905):
        return trained_like(EfficientNet())


def build_densenet() -> torch.nn.Module:
    """Build a small DenseNet-BC (Huang et al. 2016, arXiv:1608.06993): 3 blocks of 3 layers, growth 12.

    `image float32[batch, 3, h, w]` to `logits float32[batch, 10]`, any h and w from 8 up.

    Returns:
        The model in eval mode, 71 686 parameters.
    """
    from model_zoo._torch_seeding import fixed_seed, trained_like
    from model_zoo.architectures.densenet import DenseNet

    with fixed_seed(1608):
        return trained_like(DenseNet())


def build_ssd() -> torch.nn.Module:
    """Build a single-shot detector (Liu et al. 2015, arXiv:1512.02325) up to non-maximum suppression.

    `image float32[batch, 3, h, w]`, h and w multiples of 16, to `boxes float32[batch, n, 4]` (centre, size; shares of
    the picture) and `scores float32[batch, n, 5]`; n follows from h and w: 2 boxes at each place of two feature maps.

    Returns:
        The model in eval mode, 105 140 parameters.
    """
    from model_zoo._torch_seeding import fixed_seed, trained_like
    from model_zoo.architectures.ssd import SSD

    with fixed_seed(1512):
        return trained_like(SSD())


def build_pointnet() -> torch.nn.Module:
    """Build PointNet with its aligning network (Qi et al. 2016, arXiv:1612.00593), a quarter as wide.

    `points float32[batch, points, 3]`, any number of points in any order, to `logits float32[batch, 10]`.

    Returns:
        The model in eval mode, 22 611 parameters.
    """
    from model_zoo._torch_seeding import fixed_seed, trained_like
    from model_zoo.architectures.pointnet import PointNet

    with fixed_seed(1612):
        return trained_like(PointNet())
