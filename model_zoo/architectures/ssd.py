"""SSD: "Single Shot MultiBox Detector", Liu et al. 2015, arXiv:1512.02325, up to non-maximum suppression."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from model_zoo.architectures.mobilenet_v2 import conv_bn

#: Box sides as shares of the picture, for each of the two feature maps; two shapes for each.
SIDES = (0.2, 0.5)
SHAPES = ((1.0, 1.0), (1.4, 0.7))


class SSD(nn.Module):
    """Three convolutions with stride 2 make the first feature map, a fourth the second; each has its heads."""

    def __init__(self, classes: int = 5) -> None:
        super().__init__()
        self.classes = classes
        widths = (3, 16, 32, 64)
        stem = [layer for i in range(3) for layer in (*conv_bn(widths[i], widths[i + 1], 3, stride=2), nn.ReLU())]
        self.stages = nn.ModuleList([nn.Sequential(*stem), nn.Sequential(*conv_bn(64, 96, 3, stride=2), nn.ReLU())])
        self.box_heads = nn.ModuleList(nn.Conv2d(width, 4 * len(SHAPES), 3, padding=1) for width in (64, 96))
        self.class_heads = nn.ModuleList(nn.Conv2d(width, classes * len(SHAPES), 3, padding=1) for width in (64, 96))
        for module in self.stages.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Map a picture `[batch, 3, h, w]` to boxes `[batch, n, 4]` as shares of it, and scores `[batch, n, classes]`.

        Boxes are centre x, centre y, width, height; h and w are multiples of 16, and n follows from them.
        """
        boxes, scores, x = [], [], image
        for stage, to_boxes, to_classes, side in zip(self.stages, self.box_heads, self.class_heads, SIDES, strict=True):
            x = stage(x)
            priors = self.priors(x, side)
            offsets = to_boxes(x).permute(0, 2, 3, 1).reshape(x.shape[0], -1, 4)
            centres = priors[:, :2] + 0.1 * offsets[..., :2] * priors[:, 2:]
            boxes.append(torch.cat([centres, priors[:, 2:] * torch.exp(0.2 * offsets[..., 2:])], dim=2))
            scores.append(to_classes(x).permute(0, 2, 3, 1).reshape(x.shape[0], -1, self.classes))
        return torch.cat(boxes, dim=1), torch.cat(scores, dim=1).softmax(dim=2)

    def priors(self, features: Tensor, side: float) -> Tensor:
        """Return the default boxes of a feature map, `[h * w * shapes, 4]`."""
        height, width = features.shape[2], features.shape[3]
        y = (torch.arange(height, dtype=features.dtype, device=features.device) + 0.5) / height
        x = (torch.arange(width, dtype=features.dtype, device=features.device) + 0.5) / width
        sizes = torch.tensor(SHAPES, dtype=features.dtype, device=features.device) * side
        grid = torch.stack(torch.meshgrid(y, x, indexing="ij")[::-1], dim=2)
        centres = grid[:, :, None].expand(-1, -1, len(SHAPES), -1)
        return torch.cat([centres, sizes.expand_as(centres)], dim=3).reshape(-1, 4)
